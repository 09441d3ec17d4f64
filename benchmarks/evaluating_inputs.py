"""Label maps for evaluating_speed.py: real ones, one of 512×512×300 voxels with 20 labels, and predictions of them.

Where there is no real prediction, one is made from the reference by mistakes of a seeded generator that look like a
network's: borders that wander by a voxel or two (a smooth displacement), bites out of structures and bulges on them,
false islands, and in each fourth case with several labels a small structure that is missed. `far` is a bad model
(everything moved by a sixth of the image, borders by several voxels), `islands` a good one with hundreds of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LabelMap = NDArray[np.uint8]


@dataclass(frozen=True)
class Mistakes:
    """How a prediction differs from its reference; lengths in voxels, numbers per image."""

    displacement: float = 1.5
    bites: int = 6
    bulges: int = 6
    islands: int = 4
    moved_share: float = 0.0


@dataclass(frozen=True)
class Pair:
    """A reference and a prediction with the labels 0 to `labels`, C-ordered bytes as a network gives them."""

    name: str
    reference: LabelMap
    prediction: LabelMap
    spacing_mm: tuple[float, ...]
    labels: int


NETWORK, COARSE = Mistakes(), Mistakes(displacement=0.7, bites=1, bulges=1, islands=2)
"""`COARSE` is for structures of a few voxels across, where a voxel is already much."""
FAR, ISLANDS = Mistakes(6.0, bites=30, bulges=30, islands=30, moved_share=1 / 6), Mistakes(islands=600)


# ---- predictions ------------------------------------------------------------------------------------------


def predict(reference: LabelMap, seed: int, mistakes: Mistakes = NETWORK, misses: bool = False) -> LabelMap:
    """Make a prediction from a reference; `misses` one leaves out the smallest structure."""
    generator = np.random.default_rng(seed)
    prediction = displace(reference, generator, mistakes)
    counts = np.bincount(reference.ravel())
    present = [label for label in np.flatnonzero(counts) if label]
    if misses and len(present) > 1:
        prediction[prediction == min(present, key=lambda label: counts[label])] = 0
    inside = pick_voxels(prediction > 0, mistakes.bites + mistakes.bulges, generator)
    for number, centre in enumerate(inside):
        label = prediction[tuple(centre)]
        new, old = (0, label) if number < mistakes.bites else (label, 0)
        paint_ball(prediction, centre, generator.integers(2, 6), new, old)
    for centre in pick_voxels(reference == 0, mistakes.islands, generator):
        paint_ball(prediction, centre, generator.integers(1, 4), generator.choice(present), 0)
    return prediction


def displace(reference: LabelMap, generator: np.random.Generator, mistakes: Mistakes) -> LabelMap:
    """Move the borders along a smooth field: normal displacements on a grid of 12 voxels, linear between."""
    knots = [max(2, length // 12 + 1) for length in reference.shape]
    weights = [linear_weights(length, many) for length, many in zip(reference.shape, knots, strict=True)]
    field = generator.normal(0, mistakes.displacement, (reference.ndim, *knots))
    moved = round(mistakes.moved_share * reference.shape[-1])
    field[-1] += moved
    along = [np.arange(length).reshape([-1] + [1] * after) for after, length in counted_down(reference.shape[1:])]
    prediction = np.empty_like(reference)
    for place, weight in enumerate(weights[0]):
        plane = np.tensordot(field, weight, axes=(1, 0))
        for axis, others in enumerate(weights[1:]):
            plane = np.moveaxis(np.tensordot(plane, others, axes=(1 + axis, 1)), -1, 1 + axis)
        at = [np.rint(shift).astype(np.int32) for shift in plane]
        at = [at[0] + place, *(shift + grid for shift, grid in zip(at[1:], along, strict=True))]
        for shift, length in zip(at, reference.shape, strict=True):
            np.clip(shift, 0, length - 1, out=shift)
        prediction[place] = reference[tuple(at)]
    return prediction


def counted_down(lengths: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return ((len(lengths) - 1 - axis, length) for axis, length in enumerate(lengths))


def linear_weights(length: int, knots: int) -> NDArray[np.float64]:
    """Give for each place along an axis its share of each knot, (length, knots)."""
    at = np.linspace(0, knots - 1, length)
    return np.clip(1 - np.abs(at[:, None] - np.arange(knots)), 0, 1)


def pick_voxels(mask: NDArray[np.bool_], many: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw voxels of a mask, (many, axes); none where it is empty."""
    found = np.flatnonzero(mask)
    drawn = generator.choice(found, many) if found.size else found
    return np.stack(np.unravel_index(drawn, mask.shape), axis=1)


def paint_ball(prediction: LabelMap, centre: NDArray[np.int64], radius: int, new: int, old: int) -> None:
    """Replace one label by another in a ball, in place."""
    box = tuple(slice(max(0, at - radius), at + radius + 1) for at in centre)
    view = prediction[box]
    away = sum(
        (np.arange(length).reshape([-1] + [1] * after) + along.start - at) ** 2
        for (after, length), along, at in zip(counted_down(view.shape), box, centre, strict=True)
    )
    view[(away <= radius**2) & (view == old)] = new


# ---- references -------------------------------------------------------------------------------------------

ORGAN_PERCENT = (6, 5.5, 4, 2.8, 2, 1.6, 1.2, 1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01)
"""Voxels of each organ of the large volume, in percent of all: lungs and liver first, adrenals last; 27 % together."""


def large_volume(shape: tuple[int, ...] = (512, 512, 300), seed: int = 15) -> LabelMap:
    """Lay 20 ellipsoids into a body, large ones first, each where it is farthest from the others of 40 draws."""
    generator = np.random.default_rng(seed)
    volume = np.zeros(shape, np.uint8)
    size, placed = np.array(shape), []
    for label, percent in enumerate(ORGAN_PERCENT, start=1):
        stretch = generator.uniform(0.7, 1.4, 3)
        half = stretch / np.cbrt(stretch.prod()) * np.cbrt(percent / 100 * size.prod() * 3 / (4 * np.pi))
        half = np.minimum(half, size * (0.3, 0.3, 0.45))
        middle = size / 2 + generator.uniform(-1, 1, (40, 3)) * (size * (0.36, 0.3, 0.48) - half).clip(0)
        room = [min((np.linalg.norm((one - at) / (half + other)) for at, other in placed), default=1) for one in middle]
        centre = middle[int(np.argmax(room))]
        placed.append((centre, half))
        paint_ellipsoid(volume, centre, half, label)
    return displace(volume, generator, Mistakes(displacement=2.5))


def paint_ellipsoid(volume: LabelMap, centre: NDArray[np.float64], half: NDArray[np.float64], label: int) -> None:
    """Set the voxels of an ellipsoid, in place."""
    ends = zip(centre, half, volume.shape, strict=True)
    box = tuple(slice(max(0, int(at - arm)), min(length, int(at + arm) + 2)) for at, arm, length in ends)
    places = np.ogrid[box]
    away = sum(((place - at) / arm) ** 2 for place, at, arm in zip(places, centre, half, strict=True))
    volume[box][away <= 1] = label


def read_scan(path: Path) -> tuple[LabelMap, tuple[float, ...]]:
    """Read a NIfTI label map of at most 256 values, with its spacing."""
    import nibabel

    image = nibabel.load(path)
    label_map = np.ascontiguousarray(np.asanyarray(image.dataobj).round().astype(np.uint8))
    return label_map, tuple(float(step) for step in image.header.get_zooms()[:3])


def read_mask(path: Path) -> tuple[LabelMap, tuple[float, ...]]:
    """Read a picture of numbered nuclei as a mask, in pixels."""
    from PIL import Image

    return (np.array(Image.open(path)) > 0).astype(np.uint8), (1.0, 1.0)


def renumber(*label_maps: LabelMap) -> tuple[list[LabelMap], int]:
    """Number the labels that occur from 1 on, so that one-hot forms of the peers have no idle channels."""
    used = np.flatnonzero(sum(np.bincount(one.ravel(), minlength=256) for one in label_maps)[1:]) + 1
    table = np.zeros(256, np.uint8)
    table[used] = np.arange(1, used.size + 1)
    return [table[one] for one in label_maps], used.size


def predicted_pairs(paths: list[Path], mistakes: Mistakes) -> list[Pair]:
    pairs = []
    for number, path in enumerate(paths):
        reference, spacing_mm = (read_mask if path.suffix == ".png" else read_scan)(path)
        (reference,), labels = renumber(reference)
        prediction = predict(reference, number, mistakes, misses=number % 4 == 3)
        pairs.append(Pair(path.name, reference, prediction, spacing_mm, labels))
    return pairs


def raters(data: Path) -> list[Pair]:
    """Give the five algorithms that segmented the glioma against the fusion of them: real predictions."""
    folder = data / "brain_tcga_lgg_4ch"
    fused, spacing_mm = read_scan(folder / "TCGA-FG-6692_seg_fused.nii.gz")
    pairs = []
    for path in sorted((folder / "raters").glob("*.nii.gz")):
        (reference, prediction), labels = renumber(fused, read_scan(path)[0])
        pairs.append(Pair(path.name, reference, prediction, spacing_mm, labels))
    return pairs


def large_pair() -> list[Pair]:
    reference = large_volume()
    prediction = predict(reference, 15, Mistakes(bites=60, bulges=60, islands=40))
    return [Pair("20 organs", reference, prediction, (0.8, 0.8, 1.5), len(ORGAN_PERCENT))]


def study(pattern: str, many: int, mistakes: Mistakes = NETWORK) -> Callable[[Path], list[Pair]]:
    return lambda data: predicted_pairs(sorted(data.glob(pattern))[:many], mistakes)


HIPPOCAMPUS, HEART = "hippocampus_msd/labelsTr/*.nii.gz", "heart_la_msd/labelsTr/*.nii.gz"
BRAIN, ABDOMEN = "brain_brats2013_2ch/labelsTr/*.nii.gz", "ct_abdomen_totalseg/example_seg"
INPUTS: dict[str, Callable[[Path], list[Pair]]] = {
    "nuclei, 2D": study("nuclei_dsb2018/labels/*.png", 20),
    "hippocampus": study(HIPPOCAMPUS, 12, COARSE),
    "spleen": study("ct_spleen_msd_crop/*_seg-manual.nii.gz", 1),
    "left atrium": study(HEART, 4),
    "brain tumour": study(BRAIN, 2),
    "glioma, raters": raters,
    "abdomen, 3 mm": study(f"{ABDOMEN}.nii.gz", 1, COARSE),
    "abdomen, 512×512×20": study(f"{ABDOMEN}_dicom.nii.gz", 1),
    "hippocampus, far": study(HIPPOCAMPUS, 12, FAR),
    "left atrium, far": study(HEART, 2, FAR),
    "left atrium, islands": study(HEART, 2, ISLANDS),
    "brain tumour, islands": study(BRAIN, 2, ISLANDS),
    "20 organs, 512×512×300": lambda data: large_pair(),
}


# ---- on disk, for the processes that measure ----------------------------------------------------------------


def write_pairs(pairs: list[Pair], folder: Path) -> None:
    for number, pair in enumerate(pairs):
        np.save(folder / f"{number}-reference.npy", pair.reference)
        np.save(folder / f"{number}-prediction.npy", pair.prediction)
    notes = [{"name": one.name, "spacing_mm": one.spacing_mm, "labels": one.labels} for one in pairs]
    (folder / "pairs.json").write_text(json.dumps(notes))


def read_pairs(folder: Path) -> list[Pair]:
    notes = json.loads((folder / "pairs.json").read_text())
    return [
        Pair(
            note["name"],
            np.load(folder / f"{number}-reference.npy"),
            np.load(folder / f"{number}-prediction.npy"),
            tuple(note["spacing_mm"]),
            note["labels"],
        )
        for number, note in enumerate(notes)
    ]
