"""The recipe of the nuclei keeps pictures of a kind in one split: parts of one picture are never on two sides."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r2d2_base.files import read_json

pytestmark = pytest.mark.real_data

SPLITS = Path(__file__).resolve().parents[2] / "examples" / "zoo" / "nuclei-unet" / "splits.json"


def kind_of(picture: Path) -> tuple[object, ...]:
    """Size, and what is known of light and stain: the dark level of a camera, the colour of what has no stain."""
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=float)
    dark, bright = np.percentile(pixels.mean(axis=2), [5, 95])
    if np.ptp(pixels.reshape(-1, 3).mean(axis=0)) > 5:
        return "stained", "on white" if bright > 195 else "on purple"
    return ("camera with a dark level",) if 8 < dark < 20 else pixels.shape[:2]


def test_no_kind_of_picture_is_in_two_splits(real_data: Path) -> None:
    splits, kinds = read_json(SPLITS), defaultdict(set)
    for split, cases in splits.items():
        for case in cases:
            kinds[kind_of(real_data / "nuclei_dsb2018" / "images" / f"{case}.png")].add(split)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [62, 3, 25]
    assert len(kinds) == 9 and {kind: found for kind, found in kinds.items() if len(found) > 1} == {}
