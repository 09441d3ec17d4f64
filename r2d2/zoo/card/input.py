"""What a model takes and gives, in words: channels, preparation, structures, rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_training.inference.familiarity import Familiarity
from dist_training.inference.model_card import ModelCard, ViewSettings
from r2d2.reports.formatting import and_list
from r2d2.zoo.card.blocks import Block, Paragraph, Points, Table
from r2d2.zoo.card.description import FurtherNetwork

__all__ = ["input_blocks"]

AXES = ("left to right (sagittal slices)", "back to front (coronal slices)", "foot to head (axial slices)")
MEASURES = {"spacing": "spacing", "extent": "extent", "slices": "number of slices", "width": "size", "height": "size"}
NORMALISATIONS = {
    "none": "as they are",
    "zscore_case": "each scan by its own mean and standard deviation",
    "zscore_nonzero": "each scan by the mean and standard deviation of its voxels other than 0",
    "zscore_dataset": "by the mean and standard deviation of the training scans",
    "min_max": "each scan from its smallest to its largest value",
}


def input_blocks(card: ModelCard, further: Sequence[FurtherNetwork] = ()) -> list[Block]:
    """Say what scans a model takes, what is done to them, and what the values of its label maps are.

    Args:
        card: of its first network.
        further: its other networks.
    """
    preparation = card.scan_preparation
    height, width = preparation.slice_size
    are_pictures = card.scan_kinds == ("picture",)
    rows = [("Channels", ", ".join(card.channels))]
    if not are_pictures:
        axes = dict.fromkeys((preparation.slice_axis, *(one.slice_axis for one in further)))
        rows.append(("Slices", f"cut one after the other from {and_list([AXES[axis] for axis in axes])}"))
    if preparation.neighbours:
        rows.append(("Neighbours", f"{preparation.neighbours} on either side of a slice are looked at with it"))
    operations = [one.model_dump(mode="json") for one in preparation.operations]
    rows += [("Preparation", _operation(one)) for one in operations if not (are_pictures and one["op"] == "resample")]
    rows.append(("Intensities", NORMALISATIONS[card.normalisation.kind]))
    rows.append(
        (
            f"Size of training {'pictures' if are_pictures else 'slices'}",
            f"{height} × {width} pixels; others are taken too",
        )
    )
    if card.patch_size is not None:
        slices, *plane = card.patch_size
        rows.append(("Windows", f"{slices} slices of {plane[0]} × {plane[1]} pixels, seen as volumes that overlap"))
    labels = [[str(value), name] for name, value in sorted(card.labels.items(), key=lambda item: item[1])]
    blocks: list[Block] = [
        Points(rows),
        Table(
            "Values of its label maps, which lie in the scan's own voxels",
            ["Value", "Structure"],
            labels,
            text_columns=(0, 1),
        ),
    ]
    if card.regions:
        regions = [[name, ", ".join(map(str, values))] for name, values in card.regions.items()]
        blocks.append(
            Table("Regions, which are made up of several values", ["Region", "Values"], regions, text_columns=(0, 1))
        )
    if card.views != ViewSettings():
        blocks.append(Paragraph(f"The label map is the mean of what it says of each {_views(card)}."))
    if card.postprocessing:
        are_pictures = card.scan_kinds == ("picture",)
        rules = [("", _rule(rule.model_dump(mode="json"), are_pictures)) for rule in card.postprocessing]
        blocks += [Paragraph("Label maps are set right by rules, in this order:"), Points(rules)]
    blocks.append(Paragraph(f"R2D2 does all this by itself. {_flips(card)}", is_note=True))
    if card.familiarity is not None:
        rates = [one.expected_rate for one in further if one.expected_rate is not None]
        blocks.append(Paragraph(_familiarity(card.familiarity, rates)))
    return blocks


def _familiarity(known: Familiarity, other_rates: Sequence[float]) -> str:
    """Say what scans are warned of, and how often for nothing: by several networks at most the sum."""
    kinds = dict.fromkeys(MEASURES.get(one.name.split()[0], "distribution of intensities") for one in known.ranges)
    rate = min(1.0, known.expected_rate + sum(other_rates))
    said = (
        f"R2D2 warns of scans that are unlike those it learned from, by their {and_list(list(kinds))}. Of scans like"
        f" these at most {100 * rate:.1f} % are warned of for nothing"
    )
    if not known.held_out:
        return f"{said}."
    by = " by the first network" if other_rates else ""
    return f"{said}; of the {known.held_out} that were kept from training {known.alarms} are{by}."


def _operation(settings: dict[str, Any]) -> str:
    name = settings.pop("op")
    if name == "resample":
        sides = [f"{side:g} mm" for side in settings["spacing_mm"] if side is not None]
        return (
            f"resampled to voxels of {' × '.join(sides)} in the slice"
            if len(sides) < 3
            else f"resampled to voxels of {' × '.join(sides)}"
        )
    if name == "clip" and settings.get("percentiles") and not settings.get("bounds") and not settings.get("window"):
        low, high = settings["percentiles"]
        return f"intensities limited to the scan's own {low:g} and {high:g} percentiles"
    given = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items() if value is not None)
    return f"{name.replace('_', ' ')}{f' ({given})' if given else ''}"


def _rule(settings: dict[str, Any], are_pictures: bool) -> str:
    """Say what a rule does; in pictures a pixel counts as 1 mm to each side."""
    label, ml = settings["label"], settings.get("ml", 0)
    return {
        "largest_component": f"of {label} the largest connected part is kept",
        "minimum_size": f"parts of {label} smaller than {f'{1000 * ml:g} pixels' if are_pictures else f'{ml} ml'} go",
        "fill_holes": f"holes in {label} are filled",
        "only_inside": f"parts of {label} that do not touch {settings.get('within')} go",
    }.get(settings["kind"], f"{settings['kind'].replace('_', ' ')} of {label}")


def _views(card: ModelCard) -> str:
    views, picture = card.views, "picture" if card.scan_kinds == ("picture",) else "slice"
    if card.patch_size is not None:
        picture = "volume"
    seen = ["as it is"]
    if views.flips:
        seen.append(f"mirrored ({_mirrored(card)})")
    if views.rotations_degrees:
        angles = and_list([f"{angle:g}" for angle in views.rotations_degrees])
        seen.append(f"{'with its slices ' if card.patch_size else ''}turned by {angles} degrees")
    return f"{picture} {and_list(seen)}"


def _flips(card: ModelCard) -> str:
    parts = "slices" if card.patch_size is None else "patches of volumes"
    if not any(card.trained_flips):
        return f"In training {parts} were never mirrored."
    return f"It learned from mirrored {parts} too ({_mirrored(card)})."


def _mirrored(card: ModelCard) -> str:
    axes = ("first to last slice", "top to bottom", "left to right")[-len(card.trained_flips) :]
    return and_list([words for words, is_so in zip(axes, card.trained_flips, strict=True) if is_so])
