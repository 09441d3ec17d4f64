"""The HTML report of a prepared dataset: what is in it, what is wrong with it, and which settings suit it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import yaml

from imgmed import PreparedDataset
from imgmed.fingerprint import Fingerprint, read_fingerprint
from imgmed.fingerprint.oddities import Oddity
from imgmed.fingerprint.words import Words
from r2d2.proposal import Proposal, propose
from r2d2.reports.build import write_page
from r2d2.reports.dataset_pictures import draw_case, draw_geometry, draw_intensities, draw_volumes
from r2d2.reports.dataset_sections import (
    cases_section,
    duplicates_section,
    headline,
    kinds_in_words,
    labels_section,
    overview_section,
    repaired_section,
    splits_section,
)
from r2d2.reports.formatting import plural
from r2d2.reports.page import Cell, Html, figures, page, paragraph, section, table, warning_box
from r2d2.reports.picture import Picture
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["build_dataset_report", "choose_typical"]

MOST_PICTURES = 24
MOST_OF_A_KIND = 6
TYPICAL = 4


def build_dataset_report(
    dataset: PreparedDataset, out: Path, proposal: Proposal | None = None, watcher: Watcher = UNWATCHED
) -> Path:
    """Write what is known about a prepared dataset as one HTML file that holds its pictures and needs nothing else.

    Only the dataset's folder is read: its arrays, its three files and fingerprint.json. The page holds case
    identifiers and no patient identifiers.

    Args:
        dataset: the prepared dataset.
        out: the HTML file; its folder is made, a file that is there is replaced.
        proposal: the settings to be shown; None: those that suit any machine.
        watcher: may ask the work to end, between pictures and before anything is written.

    Returns:
        `out`.

    Raises:
        NotADatasetError: there is no fingerprint, or it is damaged.
        NoSpaceError: the disk is full; nothing is left of the file.
        NotWritableError: the file cannot be written.
        CancelledError: a stop was requested.
    """
    fingerprint = read_fingerprint(dataset.folder)
    body = [
        headline(dataset, fingerprint),
        warning_box(_warnings(fingerprint)),
        overview_section(dataset, fingerprint),
        splits_section(dataset, fingerprint),
        _odd_section(dataset, fingerprint, watcher),
        _typical_section(dataset, fingerprint, watcher),
        _distributions_section(fingerprint, dataset.words),
        labels_section(fingerprint, dataset.words),
        _proposal_section(dataset, proposal or propose(dataset)),
        duplicates_section(fingerprint),
        repaired_section(fingerprint),
        cases_section(dataset, fingerprint),
    ]
    written = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    subtitle = f"R2D2 report of a prepared dataset, written {written}. Not for clinical decisions."
    write_page(out, page(f"{dataset.name}: dataset", subtitle, [part for part in body if part]))
    return out


def choose_typical(fingerprint: Fingerprint) -> list[str]:
    """Choose cases to be compared with: nothing is odd about them, and as much is labelled as usual."""
    odd = fingerprint.odd_cases
    volumes = {
        case_id: sum(label.volume_ml for label in case.labels.values())
        for case_id, case in fingerprint.cases.items()
        if case_id not in odd
    }
    ranked = sorted(volumes, key=lambda case_id: (volumes[case_id], case_id))
    middle = len(ranked) // 2
    start = max(0, middle - TYPICAL // 2)
    return ranked[start : start + TYPICAL]


def _warnings(fingerprint: Fingerprint) -> list[str]:
    warnings = [f"Same content: {sentence}." for sentence in fingerprint.duplicates]
    odd = fingerprint.odd_cases
    if odd:
        counts = kinds_in_words(fingerprint)
        warnings.append(
            f"{len(odd)} of {plural(len(fingerprint.cases), 'case')} {'is' if len(odd) == 1 else 'are'} odd: {counts}."
            " Odd is not wrong: look at them below."
        )
    return warnings


def _odd_section(dataset: PreparedDataset, fingerprint: Fingerprint, watcher: Watcher) -> Html:
    odd = fingerprint.odd_cases
    remarks = Html("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in fingerprint.remarks) + "</ul>")
    about = [paragraph("About the dataset as a whole:"), remarks] if fingerprint.remarks else []
    if not odd:
        return section("Odd cases", paragraph("No case lies far from the others."), *about)
    rule = (
        "Odd is what lies 3.5 robust standard deviations (of the logarithm; Iglewicz and Hoaglin 1993) from the median"
        " of all cases, and at least the factor that is named."
    )
    groups = _grouped(fingerprint)
    tables = [
        Html(
            f"<h3>{escape(subject[0].upper() + subject[1:])}</h3>"
            + table(
                ["Case", "Found"],
                [[one.case_id, one.found] for one in found],
                caption=f"{why[0].upper()}{why[1:]}",
                text_columns=(0, 1),
            )
        )
        for (subject, why), found in groups.items()
    ]
    chosen = list(dict.fromkeys(one.case_id for found in groups.values() for one in found[:MOST_OF_A_KIND]))
    drawn = chosen[:MOST_PICTURES]
    pictures = _drawn(dataset, {case_id: _found_in_words(odd[case_id]) for case_id in drawn}, watcher)
    left_out = len(odd) - len(drawn)
    return section(
        "Odd cases",
        *about,
        paragraph(rule, "note"),
        *tables,
        figures(pictures, "wide"),
        *([paragraph(f"{plural(left_out, 'more odd case')} without a picture.", "note")] if left_out else []),
    )


def _grouped(fingerprint: Fingerprint) -> dict[tuple[str, str], list[Oddity]]:
    """Put together what is odd for the same reason."""
    groups: dict[tuple[str, str], list[Oddity]] = {}
    for oddity in fingerprint.odd:
        groups.setdefault((oddity.subject, oddity.rule), []).append(oddity)
    return groups


def _drawn(dataset: PreparedDataset, words: Mapping[str, str], watcher: Watcher) -> list[Picture]:
    """Draw cases, each with its words below."""
    pictures: list[Picture] = []
    for case_id, said in words.items():
        watcher.check()
        pictures.append(draw_case(dataset, case_id, said))
    return pictures


def _found_in_words(odd: Sequence[Oddity]) -> str:
    return "; ".join(f"{one.subject}: {one.found}" for one in odd) + "."


def _typical_section(dataset: PreparedDataset, fingerprint: Fingerprint, watcher: Watcher) -> Html:
    chosen = choose_typical(fingerprint)
    if not chosen:
        return Html("")
    pictures = _drawn(dataset, dict.fromkeys(chosen, "nothing is odd about it."), watcher)
    note = (
        "The slice on which most is labelled, as it is stored: resampled and clipped, first channel. Radiological"
        " orientation: the patient's right (R) is on the left; the frame is shown enlarged."
        if dataset.words.is_placed
        else "The picture on which most is labelled, as it is stored, with the frame enlarged beside it."
    )
    return section("Typical cases", paragraph(note, "note"), figures(pictures, "wide"))


def _distributions_section(fingerprint: Fingerprint, words: Words) -> Html:
    spacing = fingerprint.spacing_mm
    same = [f"{axis.median:.4g}" for axis in spacing if axis.maximum <= 1.01 * axis.minimum]
    said = (
        f"All cases have a spacing of {' x '.join(same)} mm (left-right, back-front, foot-head), within 1 %."
        if len(same) == 3 and words.is_placed
        else ""
    )
    pictures = [
        *draw_geometry(fingerprint, words),
        *draw_intensities(fingerprint),
        *draw_volumes(fingerprint, words),
    ]
    return section("Distributions", *([paragraph(said)] if said else []), figures(pictures))


def _proposal_section(dataset: PreparedDataset, proposal: Proposal) -> Html:
    found = dataset.scan_preparation.model_dump(mode="json") | {"normalisation": dataset.description.normalisation}
    asked = proposal.configuration.model_dump(mode="json")
    rows: list[list[Cell]] = []
    for key, reason in proposal.reasons.items():
        group, _, name = key.partition(".")
        value = found.get(name) if group == "preparation" and name in found else asked[group].get(name)
        text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        is_setting = name in asked[group]
        rows.append(
            [Html(f"<code>{escape(key if is_setting else name)}</code>"), Html(f"<code>{escape(text)}</code>"), reason]
        )
    return section(
        "Proposed settings",
        paragraph(
            "What suits this dataset. Settings with a dot stand in r2d2.yaml and can be given otherwise, as key=value."
        ),
        table(
            ["Setting", "Value", "Why"],
            rows,
            caption="Derived from the training cases.",
            text_columns=(0, 1, 2),
            kind="prose",
        ),
    )
