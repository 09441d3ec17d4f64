"""The parts of a dataset's report that are words and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

from imgmed import PreparedDataset
from imgmed.fingerprint import Distribution, Fingerprint
from r2d2.report.formatting import MISSING, millilitres, plural
from r2d2.report.page import Cell, Html, paragraph, section, table

__all__ = [
    "cases_section",
    "duplicates_section",
    "headline",
    "kinds_in_words",
    "labels_section",
    "overview_section",
    "repaired_section",
    "splits_section",
]

MOST_ROWS = 1000
MOST_LABEL_COLUMNS = 8
KIND_WORDS = {
    "intensity": "intensity",
    "spacing": "spacing",
    "shape": "size",
    "label_volume": "label volume",
    "label_absent": "missing label",
    "label_border": "label at the border",
    "label_outside_body": "label outside the body",
    "unlabelled": "nothing labelled",
}


def headline(dataset: PreparedDataset, fingerprint: Fingerprint) -> Html:
    """State how many cases there are, of how many patients, and how many are odd."""
    patients = len({case.patient_id for case in dataset.cases.values()})
    odd = len(fingerprint.odd_cases)
    checks = f"{plural(odd, 'odd case')}, {plural(len(fingerprint.duplicates), 'pair')} with the same content"
    names = [name for name, value in dataset.labels.items() if value]
    labels = plural(len(names), "label") + (f": {', '.join(names)}" if len(names) <= MOST_LABEL_COLUMNS else "")
    noun = "case" if len(dataset.cases) == 1 else "cases"
    return Html(
        f'<div class="headline"><span class="value">{len(dataset.cases)}</span>'
        f'<span class="what"><strong>{noun} of {escape(plural(patients, "patient"))}</strong>{escape(labels)}<br>'
        f"{escape(checks)}</span></div>"
    )


def kinds_in_words(fingerprint: Fingerprint) -> str:
    """Count the odd cases of each kind."""
    counts = Counter(kind for _, kind in dict.fromkeys((one.case_id, one.kind) for one in fingerprint.odd))
    return ", ".join(f"{KIND_WORDS[kind]} {count}" for kind, count in counts.most_common())


def overview_section(dataset: PreparedDataset, fingerprint: Fingerprint) -> Html:
    """Tabulate what the cases have in common and where they differ."""
    description = dataset.description
    preparation = dataset.scan_preparation
    height, width = preparation.slice_size
    rows = [
        ["Task", description.task],
        ["Layout of the source", description.recipe],
        ["Channels", ", ".join(dataset.channels)],
        ["Size, voxels", _three(fingerprint.shape)],
        ["Spacing, mm", _three(fingerprint.spacing_mm)],
        ["Orientation of the files", _counts(fingerprint.orientations)],
        ["Type of the voxels", _counts(fingerprint.dtypes)],
        [
            "Prepared slices",
            f"across {('left-right', 'back-front', 'foot-head')[preparation.slice_axis]},"
            f" up to {height} x {width} pixels",
        ],
        ["Normalisation", description.normalisation],
    ]
    note = "Sizes and spacings along left-right, back-front, foot-head: median, and smallest to largest."
    return section("Overview", table(["What", "Value"], rows, caption=note, text_columns=(0, 1)))


def splits_section(dataset: PreparedDataset, fingerprint: Fingerprint) -> Html:
    """Tabulate what each part of the split holds."""
    names = list(fingerprint.labels)[:MOST_LABEL_COLUMNS]
    rows = []
    for part in ("train", "validation", "test"):
        case_ids = getattr(dataset.splits, part)
        cases = [dataset.case(case_id) for case_id in case_ids]
        labelled = sum(case.slice_range[1] - case.slice_range[0] for case in cases)
        row = [
            part,
            str(len({case.patient_id for case in cases})),
            str(len(cases)),
            f"{sum(case.grid.slices for case in cases):,}",
            f"{labelled:,}",
        ]
        for name in names:
            found = [
                fingerprint.cases[case_id].labels.get(name) for case_id in case_ids if case_id in fingerprint.cases
            ]
            having = [label for label in found if label is not None and label.voxels]
            row += [
                str(len(having)),
                millilitres(sum(label.volume_ml for label in having) / len(having)) if having else MISSING,
            ]
        rows.append(row)
    headers = ["Part", "patients", "cases", "slices", "labelled", *(word for _ in names for word in ("cases", "ml"))]
    folds = len(dataset.splits.folds)
    return section(
        "Splits",
        table(
            headers,
            rows,
            caption="No patient is in two parts. Labelled: slices from the first to the last labelled one of each"
            " case. For each label: cases that have it, and its mean volume in them.",
            groups=[("", 5), *((name, 2) for name in names)],
        ),
        paragraph(f"{plural(folds, 'fold')} over all but the test cases.", "note") if folds else Html(""),
    )


def labels_section(fingerprint: Fingerprint) -> Html:
    """Tabulate how much of each label there is."""
    if not fingerprint.labels:
        return Html("")
    rows = []
    for name, label in fingerprint.labels.items():
        volume = label.volume_ml
        faces = ", ".join(f"{face} {count}" for face, count in label.border_faces.items())
        rows.append(
            [
                name,
                str(label.value),
                f"{label.cases} of {len(fingerprint.cases)}",
                f"{100 * label.training_share:.3g} %",
                *(
                    (millilitres(volume.minimum), millilitres(volume.median), millilitres(volume.maximum))
                    if volume
                    else (MISSING,) * 3
                ),
                f"{label.border_cases}" + (f" ({faces})" if faces else ""),
                str(label.outside_cases),
            ]
        )
    headers = ["Label", "value", "cases", "of voxels", "smallest", "median", "largest", "at the border", "outside"]
    return section(
        "Labels",
        table(
            headers,
            rows,
            caption="Of voxels: its share of all voxels of the training cases. Volumes in ml, over the cases that"
            " have it. At the border: cases in which it touches the edge of the image, which is usual where images"
            " are cropped. Outside: cases with more than a tenth of it in the air around the body.",
            groups=[("", 4), ("Volume, ml", 3), ("Cases", 2)],
        ),
    )


def duplicates_section(fingerprint: Fingerprint) -> Html:
    """List the pairs of cases with the same content."""
    if not fingerprint.duplicates:
        return section("Duplicates", paragraph("No two cases were found to have the same content."))
    return section("Duplicates", _listed(fingerprint.duplicates))


def repaired_section(fingerprint: Fingerprint) -> Html:
    """List what reading repaired."""
    if not fingerprint.repaired:
        return section("Repaired", paragraph("Nothing had to be repaired in reading."))
    rows: list[list[Cell]] = [
        [case_id, Html("<br>".join(escape(text) for text in sentences))]
        for case_id, sentences in fingerprint.repaired.items()
    ]
    return section("Repaired", table(["Case", "What"], rows, caption="Repaired in reading.", text_columns=(0, 1)))


def cases_section(dataset: PreparedDataset, fingerprint: Fingerprint) -> Html:
    """Tabulate every case, the odd ones first."""
    parts = {case_id: part for part in ("train", "validation", "test") for case_id in getattr(dataset.splits, part)}
    names, channels = list(fingerprint.labels)[:MOST_LABEL_COLUMNS], list(fingerprint.channels)
    odd = fingerprint.odd_cases
    rows: list[list[Cell]] = []
    ordered = [*odd, *(case_id for case_id in fingerprint.cases if case_id not in odd)]
    for case_id in ordered[:MOST_ROWS]:
        case = fingerprint.cases[case_id]
        kinds = ", ".join(dict.fromkeys(KIND_WORDS[oddity.kind] for oddity in odd.get(case_id, ())))
        mark = f'<span class="status">{escape(kinds)}</span>' if kinds else ""
        row: list[Cell] = [
            Html(f"{escape(case_id)}{mark}"),
            parts.get(case_id, MISSING),
            " x ".join(str(size) for size in case.shape),
            " x ".join(f"{value:.3g}" for value in case.spacing_mm),
            case.orientation,
        ]
        for channel in case.channels:
            row += [f"{channel.minimum:.4g}", f"{channel.median:.4g}", f"{channel.maximum:.4g}"]
        row += [millilitres(case.labels[name].volume_ml) if name in case.labels else MISSING for name in names]
        rows.append(row)
    groups = [("", 5), *((f"Intensity of {name}", 3) for name in channels)]
    if names:
        groups.append(("Volume, ml", len(names)))
    headers = ["Case", "part", "voxels", "spacing, mm", "axes", *("min", "median", "max") * len(channels), *names]
    left_out = len(fingerprint.cases) - len(rows)
    more = f" {left_out:,} more are in fingerprint.json." if left_out else ""
    return section(
        "Every case, odd ones first",
        table(
            headers,
            rows,
            caption=f"As in the source files: axes i, j, k and their directions.{more}",
            text_columns=(0, 1, 2, 3, 4),
            groups=groups,
        ),
    )


def _three(axes: tuple[Distribution, Distribution, Distribution]) -> str:
    median = " x ".join(f"{axis.median:.4g}" for axis in axes)
    if all(axis.minimum == axis.maximum for axis in axes):
        return f"{median} in all cases"
    low, high = (" x ".join(f"{getattr(axis, name):.4g}" for axis in axes) for name in ("minimum", "maximum"))
    return f"{median} ({low} to {high})"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items())


def _listed(sentences: tuple[str, ...]) -> Html:
    return Html("<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>")
