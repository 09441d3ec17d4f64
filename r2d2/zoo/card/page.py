"""The page of a model: card.html and card.md, from card.json and model.json, for whoever is to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dist_training.inference.model_card import ModelCard, Split
from r2d2.reports.formatting import MISSING, and_list, measure, millilitres, plural
from r2d2.zoo.card.blocks import (
    Block,
    Command,
    Paragraph,
    Points,
    Score,
    Section,
    Table,
    blocks_of_words,
    in_html,
    in_markdown,
)
from r2d2.zoo.card.description import FurtherNetwork, Mean, ModelDescription, ScoresOfModel, TrainingOfModel
from r2d2.zoo.card.input import input_blocks
from r2d2.zoo.card.terms import Terms, terms_of
from segeval import METRICS, Metric

if TYPE_CHECKING:
    from r2d2.reports.page import Html

__all__ = ["card_html", "card_markdown", "card_sections", "card_warnings"]

FIRST_METRICS = ("dice", "hd95_mm", "nsd", "absolute_volume_difference_ml")
FEW_PATIENTS = 10
WIDE = 5  # labels up to which the table of all metrics has a column for each

WHERE = {
    "test": "kept for the test, which neither training nor validation saw",
    "other": "from elsewhere, which the network never saw",
    "test and other": "that the network never saw: those kept for the test, and others from elsewhere",
}
SPLITS: tuple[tuple[Split, str], ...] = (
    ("train", "Learned from"),
    ("validation", "Chose among networks by"),
    ("test", "Kept for the test"),
)
INTERVALS = (
    "Each figure is the mean over cases, and with it the range in which it would likely lie for other {persons} of the "
    "same kind (95 % interval)."
)
ROUNDED = (
    "Measured before the weights were rounded to half precision, which changes voxels where two structures were "
    "about equally likely."
)

MEANINGS = {
    "dice": "how far the marked regions of model and expert cover each other, from 0 (not at all) to 1 (entirely)",
    "jaccard": "like Dice on another scale: the part that both marked of all that either marked, from 0 to 1",
    "precision": "the part of what the model marks that the expert marked too",
    "sensitivity": "the part of what the expert marked that the model finds",
    "specificity": "the part of what the expert left unmarked that the model leaves so too",
    "volume_similarity": "how alike the two volumes are, wherever they lie; 1 is equal",
    "absolute_volume_difference_ml": "by how many millilitres the volume is off, in either direction",
    "hausdorff_mm": "the largest distance between the two outlines, in millimetres; a single stray voxel counts",
    "hd95_mm": "95 % of the outlines lie within this distance of each other, in millimetres",
    "assd_mm": "the mean distance between the outlines, in millimetres",
    "masd_mm": "the mean distance between the outlines, both directions alike, in millimetres",
    "nsd": "the part of the outlines that lies within the tolerance of the other",
    "lesion_precision": "the part of the lesions that the model marks that are lesions",
    "lesion_recall": "the part of the lesions that the model finds",
    "lesion_f1": "both together, from 0 to 1",
    "panoptic_quality": "lesions found, and how well each is covered, together, from 0 to 1",
}


def card_html(description: ModelDescription, card: ModelCard, pictures: Html | None = None) -> str:
    """Write card.html: one page that needs nothing else.

    Args:
        description: card.json.
        card: model.json.
        pictures: a section with pictures of patients; None: there are none.
    """
    sections = card_sections(description, card)
    return in_html(description.title, _subtitle(description), card_warnings(description, card), sections, pictures)


def card_markdown(description: ModelDescription, card: ModelCard) -> str:
    """Write card.md: the same text."""
    sections = card_sections(description, card)
    return in_markdown(description.title, _subtitle(description), card_warnings(description, card), sections)


def card_sections(description: ModelDescription, card: ModelCard) -> list[Section]:
    """Put what is known of a model under headings, what a reader needs first first."""
    terms = terms_of(description, card)
    return [
        Section("What it is for", blocks_of_words(description.intended_use)),
        Section("What it is not for", blocks_of_words(description.not_for)),
        Section("How well it works", _score_blocks(description, card, terms)),
        *(
            [Section("How large the structures are", _volume_blocks(description.scores))]
            if _has_volumes(description)
            else []
        ),
        Section("Where it fails", _failure_blocks(description, terms)),
        Section("What it learned from", _data_blocks(description, terms)),
        Section("What it takes, and what it gives", input_blocks(card, description.further)),
        Section("How it was made", _origin_blocks(description, card)),
        Section("Licence", _licence_blocks(description)),
        *([Section("Remarks", blocks_of_words(description.remarks))] if description.remarks else []),
        Section("How it is used", _use_blocks(description)),
    ]


def card_warnings(description: ModelDescription, card: ModelCard) -> list[str]:
    """List what makes the card worth less than it looks."""
    scores, training, warnings = description.scores, description.training, []
    person = terms_of(description, card).person
    if scores is None:
        warnings.append(
            "This model was not evaluated on scans that it never saw: nothing says how well it works there."
        )
    elif scores.patients < FEW_PATIENTS:
        warnings.append(f"It was evaluated on {plural(scores.patients, person)} only: the scores may be luck.")
    learned = description.data.patients or description.data.cases
    if 0 < learned.get("train", 0) < FEW_PATIENTS:
        what = person if description.data.patients else "case"
        warnings.append(
            f"It learned from {plural(learned['train'], what)} only: other scans may look unlike any of them."
        )
    if training is not None and training.state != "completed":
        warnings.append(f"Its training was published in the state “{training.state.replace('_', ' ')}”.")
    return warnings


def _subtitle(description: ModelDescription) -> str:
    name = f"{description.name}, published" if description.name else "Published"
    return f"{name} {description.published} by {description.author}. Not for clinical decisions."


def _score_blocks(description: ModelDescription, card: ModelCard, terms: Terms) -> list[Block]:
    scores, blocks = description.scores, list[Block]()
    if scores is not None:
        of, intervals = terms.cases(scores.cases, scores.patients), INTERVALS.format(persons=f"{terms.person}s")
        blocks += [Paragraph(f"Measured on {of} {WHERE[scores.split]}. {intervals}"), *_score_tables(scores, terms)]
        if scores.inference:
            blocks.append(Paragraph(f"The network was applied so: {scores.inference}.", is_note=True))
        if card.weights_precision == "float16" and scores.model_sha256 != description.weights_sha256:
            blocks.append(Paragraph(ROUNDED, is_note=True))
    validated = [card.validation_dice, *(one.validation_dice for one in description.further)]
    dice = [f"{one:.3f}" for one in validated if one is not None]
    if dice:
        which, whose, whom = ("networks were", "their", "them") if len(dice) > 1 else ("network was", "its", "it")
        blocks.append(
            Paragraph(
                f"The {which} chosen by {whose} Dice of {and_list(dice)} on validation cases, which flatters {whom} for"
                " that reason.",
                is_note=True,
            )
        )
    return blocks


def _score_tables(scores: ScoresOfModel, terms: Terms) -> list[Block]:
    names = [name for name in METRICS if name in scores.metrics and terms.has(METRICS[name])]
    first = [name for name in FIRST_METRICS if name in names] or names[:3]
    labels = list(next(iter(scores.metrics.values()), {}))
    rows: list[list[str | Score]] = [
        [label, *(_score(scores.metrics[name][label], METRICS[name]) for name in first)] for label in labels
    ]
    if len(labels) > 1:
        rows.append(["Mean of the structures", *(_score(scores.overall[name], METRICS[name]) for name in first)])
    blocks: list[Block] = [
        Table(
            "Agreement with the experts, for each structure",
            ["Structure", *(terms.heading(METRICS[n]) for n in first)],
            rows,
            kind="scores",
        ),
        Points([(METRICS[name].title, _meaning(name, scores, terms)) for name in first]),
    ]
    others = [name for name in names if name not in first]
    if others and len(labels) <= WIDE:
        blocks.append(
            Table(
                "Further figures",
                ["Figure", *labels],
                [
                    [
                        terms.heading(METRICS[name]),
                        *(_score(scores.metrics[name][label], METRICS[name]) for label in labels),
                    ]
                    for name in others
                ],
                kind="scores",
            )
        )
        blocks.append(Points([(METRICS[name].title, _meaning(name, scores, terms)) for name in others]))
    return blocks


def _meaning(name: str, scores: ScoresOfModel, terms: Terms) -> str:
    metric = METRICS[name]
    tolerance = scores.conventions.get("nsd tolerance") if name == "nsd" else None
    better = "more is better" if metric.better == "higher" else "less is better"
    meaning = f"{MEANINGS.get(name, metric.definition)}{f' ({tolerance})' if tolerance else ''}"
    return f"{terms.lengths(meaning)}; {better}."


def _score(mean: Mean, metric: Metric) -> Score:
    if mean.value is None:
        return Score(MISSING)
    if mean.low is None or mean.high is None:
        return Score(measure(mean.value, metric))
    interval = f"{measure(mean.low, metric)} to {measure(mean.high, metric)}"
    return Score(measure(mean.value, metric), interval)


def _has_volumes(description: ModelDescription) -> bool:
    return description.scores is not None and bool(description.scores.volumes_ml)


def _volume_blocks(scores: ScoresOfModel | None) -> list[Block]:
    volumes = {} if scores is None else scores.volumes_ml
    rows = [
        [label, millilitres(one.low), millilitres(one.median), millilitres(one.high), str(one.n), str(one.absent)]
        for label, one in volumes.items()
    ]
    return [
        Table(
            "Volumes that the experts marked, in ml: nine of ten lie between the first and the third figure",
            ["Structure", "5 % are below", "Median", "5 % are above", "Cases", "Without it"],
            rows,
        ),
        Paragraph("A volume far from these is a reason to look at the scan.", is_note=True),
    ]


def _failure_blocks(description: ModelDescription, terms: Terms) -> list[Block]:
    blocks, scores = blocks_of_words(description.known_failures), description.scores
    if scores is None or not scores.worst:
        return blocks
    labels = list(scores.worst[0].scores)
    measured = list(scores.worst[0].scores[labels[0]])
    names = [name for name in ("dice", "hd95_mm") if name in measured] or measured[:1]
    has_remarks = any(case.remarks for case in scores.worst)
    rows = []
    for case in scores.worst:
        for number, label in enumerate(labels):
            cells = [_worst_figure(case.scores[label].get(name), METRICS[name]) for name in names]
            remark = [case.remarks.get(label, "")] if has_remarks else []
            rows.append([case.rank if number == 0 else "", label, *cells, *remark])
    figures = [terms.heading(METRICS[name]) for name in names]
    headers = ["Case", "Structure", *figures, *(["Remark"] if has_remarks else [])]
    words = (0, 1, len(headers) - 1) if has_remarks else (0, 1)
    return [*blocks, Table("The cases of the evaluation that went worst", headers, rows, words, kind="prose")]


def _worst_figure(value: float | None, metric: Metric) -> str:
    return MISSING if value is None else measure(value, metric)


def _data_blocks(description: ModelDescription, terms: Terms) -> list[Block]:
    data = description.data
    rows = [("Data", data.name), ("Where from", data.source), ("Licence of the data", data.licence)]
    rows += [("Whose scans", data.population or "not said"), ("Scanners", data.scanners or "not said")]
    counts = []
    for split, what in SPLITS:
        patients = "not known" if data.patients is None else str(data.patients.get(split, 0))
        counts.append([what, str(data.cases.get(split, 0)), patients])
    if data.seen_before:
        counts.append(["Seen by the networks it started from", str(data.seen_before), "not known"])
    return [
        Points(rows),
        Table("How many it saw", ["Part", "Cases", "Patients"], counts, kind="prose")
        if terms.person == "patient"
        else Table("How many it saw", ["Part", "Pictures"], [row[:2] for row in counts], kind="prose"),
    ]


def _origin_blocks(description: ModelDescription, card: ModelCard) -> list[Block]:
    network = _network_words(card.network.model_dump(mode="json"))
    rows = [("Author", description.author), *([("Contact", description.contact)] if description.contact else [])]
    count = 1 + len(description.further)
    rows.append(("Published", description.published))
    if count > 1:
        rows.append(("Networks", f"{count}, asked together: the mean of their probabilities decides"))
    rows += [("Network", network), ("Began from", _parent(description))]
    rows += _training_rows(description.training)
    rows.append(("Weights of epoch", str(card.epoch)))
    rows.append(
        (
            "Weights stored in",
            {"float16": "half precision", "float32": "single precision", "float64": "double precision"}[
                card.weights_precision
            ],
        )
    )
    rows.append(("Software", ", ".join(f"{name} {version}" for name, version in card.versions.items())))
    rows.append(("SHA-256 of model.keras", description.weights_sha256))
    return [Points([*rows, *_further_rows(description.further, network)])]


def _network_words(settings: dict[str, Any]) -> str:
    words = [f"{key.replace('_', ' ')} {value}" for key, value in settings.items() if value is not None]
    return f"{settings['architecture']}: {', '.join(words[1:])}"


def _further_rows(further: Sequence[FurtherNetwork], first: str) -> list[tuple[str, str]]:
    rows = []
    for number, one in enumerate(further, 2):
        trained = "; ".join(text for _, text in _training_rows(one.training))
        network = _network_words(one.network) if one.network else first
        facts = [] if network == first else [network]
        facts += [f"began from {_parent(one)}", trained, f"weights of epoch {one.epoch}"]
        rows.append((f"Network {number}", "; ".join([*facts, f"SHA-256 {one.weights_sha256}"])))
    return rows


def _parent(network: ModelDescription | FurtherNetwork) -> str:
    if network.parent is None:
        return "random weights"
    digest = network.parent_sha256
    return f"{network.parent}{f', SHA-256 {digest}' if digest else ''}"


def _training_rows(training: TrainingOfModel | None) -> list[tuple[str, str]]:
    if training is None:
        return [("Training", "not by R2D2, or not recorded")]
    time = "" if training.minutes is None else f" in {_time(training.minutes)}"
    workers = "" if training.workers is None else f", {plural(training.workers, 'worker')}"
    rows = [("Training", f"{plural(training.epochs, 'epoch')}{time}{workers}")]
    machine = ", ".join(filter(None, (training.cores, training.platform)))
    return [*rows, *([("Machine", machine)] if machine else [])]


def _time(minutes: float) -> str:
    """Print a time.

    >>> _time(0.4), _time(59.6), _time(125)
    ('24 seconds', '1 h 0 min', '2 h 5 min')
    """
    if minutes < 1:
        return plural(round(60 * minutes), "second")
    whole = math.floor(minutes + 0.5)
    return f"{whole // 60} h {whole % 60} min" if whole >= 60 else plural(whole, "minute")


def _licence_blocks(description: ModelDescription) -> list[Block]:
    return [
        Points([("Licence of the weights", description.licence), ("Must be named", description.attribution)]),
        Paragraph("LICENSE, beside this page, has both.", is_note=True),
    ]


def _use_blocks(description: ModelDescription) -> list[Block]:
    model = f"zoo:{description.name}" if description.name else "FOLDER"
    return [
        Command(f"r2d2 predict --model {model} --input scans --out predictions"),
        Paragraph("Look at every label map before you use it."),
    ]
