"""The parts of a dataset's report that are words and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

from imgmed import PreparedDataset
from imgmed.fingerprint import Distribution, Fingerprint
from imgmed.fingerprint.words import Words
from r2d2.reports.formatting import MISSING, millilitres, plural
from r2d2.reports.page import Cell, Html, paragraph, section, table

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
    words = dataset.words
    rows = [
        ["Task", description.task],
        ["Layout of the source", description.recipe],
        ["Channels", ", ".join(dataset.channels)],
        [f"Size, {words.element}", _three(fingerprint.shape)],
        *([["Spacing, mm", _three(fingerprint.spacing_mm)]] if words.is_placed else []),
        *([["Orientation of the files", _counts(fingerprint.orientations)]] if words.is_placed else []),
        [f"Type of the {words.element}", _counts(fingerprint.dtypes)],
        [
            "Prepared slices",
            f"across {words.axes[preparation.slice_axis]}, up to {height} x {width} pixels",
        ],
        ["Normalisation", description.normalisation],
    ]
    sizes = "Sizes and spacings" if words.is_placed else "Sizes"
    note = f"{sizes} along {', '.join(words.axes)}: median, and smallest to largest."
    return section("Overview", table(["What", "Value"], rows, caption=note, text_columns=(0, 1)))


def splits_section(dataset: PreparedDataset, fingerprint: Fingerprint) -> Html:
    """Tabulate what each part of the split holds."""
    names, words = list(fingerprint.labels)[:MOST_LABEL_COLUMNS], dataset.words
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
                _extent(sum(label.volume_ml for label in having) / len(having), words) if having else MISSING,
            ]
        rows.append(row)
    headers = ["Part", "patients", "cases", "slices", "labelled"]
    headers += [word for _ in names for word in ("cases", words.unit)]
    folds = len(dataset.splits.folds)
    return section(
        "Splits",
        table(
            headers,
            rows,
            caption="No patient is in two parts. Labelled: slices from the first to the last labelled one of each"
            f" case. For each label: cases that have it, and its mean {words.extent} in them.",
            groups=[("", 5), *((name, 2) for name in names)],
        ),
        paragraph(f"{plural(folds, 'fold')} over all but the test cases.", "note") if folds else Html(""),
    )


def labels_section(fingerprint: Fingerprint, words: Words) -> Html:
    """Tabulate how much of each label there is."""
    if not fingerprint.labels:
        return Html("")
    rows = []
    for name, label in fingerprint.labels.items():
        volume = label.volume_ml
        faces = ", ".join(f"{words.faces[face]} {count}" for face, count in label.border_faces.items())
        rows.append(
            [
                name,
                str(label.value),
                f"{label.cases} of {len(fingerprint.cases)}",
                f"{100 * label.training_share:.3g} %",
                *(
                    (_extent(volume.minimum, words), _extent(volume.median, words), _extent(volume.maximum, words))
                    if volume
                    else (MISSING,) * 3
                ),
                f"{label.border_cases}" + (f" ({faces})" if faces else ""),
                *([str(label.outside_cases)] if words.is_placed else []),
            ]
        )
    headers = ["Label", "value", "cases", f"of {words.element}", "smallest", "median", "largest", "at the border"]
    headers += ["outside"] if words.is_placed else []
    outside = " Outside: cases with more than a tenth of it in the air around the body." if words.is_placed else ""
    return section(
        "Labels",
        table(
            headers,
            rows,
            caption=f"Of {words.element}: its share of all {words.element} of the training cases."
            f" {words.extent.capitalize()}s in {words.unit}, over the cases that have it. At the border: cases in which"
            f" it touches the edge of the image, which is usual where images are cropped.{outside}",
            groups=[("", 4), (_extent_heading(words), 3), ("Cases", 2 if words.is_placed else 1)],
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
    words = dataset.words
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
            *([" x ".join(f"{value:.3g}" for value in case.spacing_mm), case.orientation] if words.is_placed else []),
        ]
        for channel in case.channels:
            row += [f"{channel.minimum:.4g}", f"{channel.median:.4g}", f"{channel.maximum:.4g}"]
        row += [_extent(case.labels[name].volume_ml, words) if name in case.labels else MISSING for name in names]
        rows.append(row)
    about = ["Case", "part", words.element, *(["spacing, mm", "axes"] if words.is_placed else [])]
    groups = [("", len(about)), *((f"Intensity of {name}", 3) for name in channels)]
    if names:
        groups.append((_extent_heading(words), len(names)))
    headers = [*about, *("min", "median", "max") * len(channels), *names]
    axes = "axes i, j, k and their directions" if words.is_placed else "rows, columns, pages"
    left_out = len(fingerprint.cases) - len(rows)
    more = f" {left_out:,} more are in fingerprint.json." if left_out else ""
    return section(
        "Every case, odd ones first",
        table(
            headers,
            rows,
            caption=f"As in the source files: {axes}.{more}",
            text_columns=tuple(range(len(about))),
            groups=groups,
        ),
    )


def _extent(volume_ml: float, words: Words) -> str:
    """How much of a label there is, in the unit that images of this kind have."""
    return millilitres(volume_ml) if words.is_placed else f"{round(volume_ml * words.per_ml):,}"


def _extent_heading(words: Words) -> str:
    return f"{words.extent.capitalize()}, {words.unit}"


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
