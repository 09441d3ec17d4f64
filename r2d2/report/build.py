"""Building the report: what goes into it, in which order, and writing it."""

from __future__ import annotations

import datetime
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from imgmed import ImgMedError, Volume
from r2d2.errors import R2D2Error
from r2d2.report.curves import draw_curves, read_epochs
from r2d2.report.formatting import case_score, millimetres, plural, share, status_words
from r2d2.report.overlay import OverlayError, draw_overlay, read_overlay
from r2d2.report.page import Html, figures, page, paragraph, section, warning_box
from r2d2.report.picture import Picture
from r2d2.report.provenance import read_provenance
from r2d2.report.sections import (
    cases_section,
    headline,
    labels_section,
    method_section,
    provenance_section,
    worst_first,
)
from segeval import EvaluatedCase, Evaluation, read_evaluation

__all__ = ["ImageOf", "ReportWriteError", "build_report", "write_page"]

ImageOf = Path | Callable[[], Volume]


class ReportWriteError(R2D2Error, OSError):
    """A report that cannot be written where it was asked for."""


def build_report(
    out: Path,
    *,
    title: str,
    evaluation_dir: Path,
    prediction_dir: Path | None,
    reference: Mapping[str, Path],
    images: Mapping[str, ImageOf],
    run_dir: Path | None,
    labels: Mapping[str, int],
) -> Path:
    """Write an evaluation as one HTML file that holds its pictures and needs nothing else.

    Args:
        out: the HTML file; its folder is made, a file that is there is replaced.
        title: heading of the page.
        evaluation_dir: folder with `summary.json` and `cases.csv`.
        prediction_dir: folder of the predicted label maps; None takes the paths that the evaluation names.
        reference: reference label map of each case; for others the path that the evaluation names is taken.
        images: image of each case, its file or a function that gives it; those without one get no picture.
        run_dir: run folder for the training curves and the provenance; None leaves them out.
        labels: integer of each name, background included, for the names in pictures; labels that are not in
            it keep the name that they have in the evaluation.

    Returns:
        `out`.

    Raises:
        EvaluationNotFoundError: there is no evaluation.
        EvaluationFormatError: the evaluation is damaged.
        ReportWriteError: the file cannot be written; nothing is left of it.
    """
    evaluation = read_evaluation(evaluation_dir)
    names = {value: name for name, value in labels.items()}
    drawn_labels = {
        names.get(value, name): value for name, value in evaluation.labels.items() if isinstance(value, int)
    }
    body = [
        headline(evaluation),
        warning_box(evaluation.warnings),
        labels_section(evaluation),
        _overlays_section(evaluation, prediction_dir, reference, images, drawn_labels),
    ]
    if run_dir is not None:
        body.append(_curves_section(run_dir))
    provenance = [("Evaluation", str(evaluation_dir)), *(read_provenance(run_dir) if run_dir is not None else [])]
    body += [cases_section(evaluation), method_section(evaluation.conventions), provenance_section(provenance)]
    written = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    write_page(out, page(title, f"R2D2 evaluation report, written {written}. Not for clinical decisions.", body))
    return out


def choose_cases(evaluation: Evaluation) -> list[tuple[str, EvaluatedCase]]:
    """Choose cases to be shown: the worst, one at the lower quartile, the median and the best, each once.

    Args:
        evaluation: the evaluation; cases without any score are passed over.

    Returns:
        What each stands for, and the case.
    """
    ranked = [case for case in worst_first(evaluation) if not math.isnan(_dice(case))]
    if not ranked:
        return []
    last = len(ranked) - 1
    wanted = (("Worst", 0), ("Lower quartile", round(last / 4)), ("Median", round(last / 2)), ("Best", last))
    chosen: dict[int, str] = {}
    for name, position in wanted:
        if name != "Lower quartile" or last >= 6:
            chosen.setdefault(position, name)
    return [(name, ranked[position]) for position, name in chosen.items()]


def _overlays_section(
    evaluation: Evaluation,
    prediction_dir: Path | None,
    reference: Mapping[str, Path],
    images: Mapping[str, ImageOf],
    labels: Mapping[str, int],
) -> Html:
    pictures: list[Picture] = []
    failures: list[str] = []
    for rank, case in choose_cases(evaluation):
        image = images.get(case.case_id)
        if image is None:
            failures.append(f"No picture of case {case.case_id}: its image was not given.")
            continue
        prediction = Path(case.prediction)
        if prediction_dir is not None:
            prediction = prediction_dir / prediction.name
        try:
            scan = image if isinstance(image, Path) else image()
            overlay = read_overlay(scan, reference.get(case.case_id, Path(case.reference)), prediction)
        except (ImgMedError, OverlayError) as error:
            failures.append(f"No picture of case {case.case_id}: {error}.")
            continue
        caption = f"{rank} case, {case.case_id}: {_scores_in_words(case)}."
        alt = (
            f"{overlay.plane.capitalize()} slice {overlay.position} of case {case.case_id}, the {rank.lower()} case, "
            f"with the contours of reference and prediction of {', '.join(labels)}. {_scores_in_words(case)}."
        )
        pictures.append(draw_overlay(overlay, labels, alt, caption))
    explanation = (
        "The slice on which the reference is largest. Radiological orientation: the patient's right (R) is on the "
        "left of the picture; A anterior, P posterior, S superior, I inferior. Voxels are drawn at their size in mm."
    )
    notes = [paragraph(failure, "note") for failure in failures]
    return section(
        "Reference and prediction",
        *([paragraph(explanation, "note"), figures(pictures, "wide")] if pictures else []),
        *notes,
    )


def _curves_section(run_dir: Path) -> Html:
    epochs = read_epochs(run_dir / "events.jsonl")
    if not epochs:
        return section("Training", paragraph(f"{run_dir} records no finished epoch.", "note"))
    return section(
        "Training", paragraph(f"{plural(len(epochs), 'epoch')} were recorded.", "note"), figures(draw_curves(epochs))
    )


def _scores_in_words(case: EvaluatedCase) -> str:
    parts = []
    for score in case.scores:
        words = status_words(score)
        measured = f"Dice {share(score['dice'])}, HD95 {millimetres(score['hd95_mm'])} mm"
        parts.append(f"{score.label_name} {f'{words}' if words else measured}")
    return "; ".join(parts)


def _dice(case: EvaluatedCase) -> float:
    return case_score(tuple(score["dice"] for score in case.scores))


def write_page(out: Path, text: str) -> None:
    """Write a page beside its final name and rename it; raises ReportWriteError."""
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ReportWriteError(
            f"{out}: the report cannot be written ({error.strerror or error}); give the path of a file in a folder "
            "that can be written to, with room left"
        ) from error
