"""Masks drawn and spoiled by Pillow and SciPy, and label maps of organs: which are taken for classes."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from imgmed.mask_values import edge_hint, mask_fault, mask_hint

Counts = dict[int, int]


def counts_of(array: np.ndarray) -> Counts:
    values, counts = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def discs(case: int, levels: tuple[int, ...], radius: int = 32, size: int = 256) -> np.ndarray:
    rows, columns = np.indices((size, size))
    mask = np.zeros((size, size), np.uint8)
    for number, level in enumerate(levels, start=1):
        centre = size * number // (len(levels) + 1) + 3 * case
        mask[(rows - size // 2) ** 2 + (columns - centre) ** 2 < radius**2] = level
    return mask


def resized(case: int, levels: tuple[int, ...] = (255,), kind: Image.Resampling = Image.Resampling.BICUBIC) -> Counts:
    return counts_of(np.asarray(Image.fromarray(discs(case, levels)).resize((64, 64), kind)))


def compressed(case: int, levels: tuple[int, ...] = (255,)) -> Counts:
    stream = io.BytesIO()
    Image.fromarray(discs(case, levels)).save(stream, "JPEG", quality=60)
    return counts_of(np.asarray(Image.open(stream)))


def instances(case: int) -> Counts:
    seeds = np.random.default_rng(case).random((128, 128)) < 0.002 + 0.002 * case
    return counts_of(ndimage.label(ndimage.binary_dilation(seeds, iterations=2))[0])


def organs(case: int, count: int = 117, missing: float = 0.1, body: bool = False) -> Counts:
    """Balls of very different size, some of them absent in a case."""
    rng = np.random.default_rng(case)
    volume = np.full((32, 32, 32), count + 1 if body else 0, np.uint8)
    grid = np.indices(volume.shape)
    for value in range(1, count + 1):
        if rng.random() >= missing:
            centre = rng.integers(4, 28, 3)[:, np.newaxis, np.newaxis, np.newaxis]
            volume[((grid - centre) ** 2).sum(axis=0) < rng.integers(1, 8) ** 2] = value
    return counts_of(volume)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (resized, "hold 0, 255 and .* smoothed edges .*; set preparation.mask_threshold=128"),
        (
            lambda case: resized(case, kind=Image.Resampling.BILINEAR),
            "0, 255 and .* set preparation.mask_threshold=128",
        ),
        (lambda case: resized(case, (127, 255)), "hold 0, 127, 255 and .*; save them again without smoothing"),
        (compressed, "hold 0, 255 and .* of lossy pictures; set preparation.mask_threshold=128"),
        (instances, "others in each case: numbers of instances, .* preparation.remap_labels=foreground"),
    ],
)
def test_what_is_no_label_map_is_recognised_with_the_setting_that_helps(make, said):
    fault = mask_fault([make(case) for case in range(6)])
    assert fault is not None and re.search(said, fault)


def test_numbers_that_go_on_from_case_to_case_are_instances():
    cases = [{0: 900} | dict.fromkeys(range(1 + 30 * case, 31 + 30 * case), 20) for case in range(4)]
    assert "numbers of instances" in (mask_fault(cases) or "")


@pytest.mark.parametrize(
    "cases",
    [
        [organs(case, 30) for case in range(6)],
        [organs(case) for case in range(6)],
        [organs(case, 20, missing=0.4) for case in range(6)],
        [organs(case, 20, body=True) for case in range(6)],
        [{0: 5000, 85: 400, 170: 300, 255: 200}] * 3,
        [{0: 5000, 255: 400}] * 3,
        [{0: 9}],
        [],
    ],
)
def test_classes_are_left_alone(cases):
    assert mask_fault(cases) is None


def test_many_values_that_may_be_classes_are_said():
    assert mask_hint(range(20)) is None
    assert "116 label values" in (mask_hint(range(117)) or "")


def test_masks_of_half_the_size_are_hinted_at() -> None:
    """Few values lie between: they may be classes, so nothing is refused."""
    cases = [counts_of(np.asarray(Image.fromarray(discs(case, (255,))).reduce(2))) for case in range(4)]
    assert sorted({value for counts in cases for value in counts}) == [0, 64, 128, 191, 255]
    assert mask_fault(cases) is None
    hint = edge_hint(cases)
    assert hint is not None and "preparation.mask_threshold=128" in hint


@pytest.mark.parametrize(
    "counts",
    [
        {0: 40, 128: 300, 255: 60000},  # optic disc and cup, drawn in black and grey on white
        {0: 60000, 85: 900, 170: 300, 255: 2000},  # three classes drawn in greys
        {0: 60000, **dict.fromkeys(range(1, 21), 500), 255: 300},  # VOC's classes and its border
        {0: 60000, 1: 5, 2: 5, 3: 5, 4: 900},
    ],
)
def test_classes_are_no_edges(counts: Counts) -> None:
    assert edge_hint([counts]) is None
