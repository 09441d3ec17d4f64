"""What the words in file and folder names say: label or image, which split, one base name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

__all__ = [
    "CONTRASTS",
    "LabelName",
    "channel_number",
    "common_name",
    "distinct_names",
    "is_image_word",
    "label_name",
    "plain_name",
    "split_of",
    "without_image_word",
]

LABEL_WORDS = (
    *("segmentations", "segmentation", "segm", "dseg", "seg", "labelmap", "labels", "label", "masks", "mask", "msk"),
    *("gt", "structures"),
    *("groundtruth", "ground_truth", "annotations", "annotation", "rois", "roi", "contours", "contour"),
)
IMAGE_WORDS = ("image", "images", "img", "imaging", "scan", "volume", "vol", "data", "ct", "mr", "mri", "pet", "pt")
CONTRASTS = (
    *("t1", "t1w", "t1n", "t1c", "t1ce", "t1gd", "t1post", "t2", "t2w", "t2f", "flair", "pd", "dwi", "adc", "swi"),
    *("ct", "cta", "mr", "mri", "pet", "spect", "us"),
)
PLAIN_WORDS = frozenset((*IMAGE_WORDS, *(part for word in LABEL_WORDS for part in word.split("_"))))
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
CHANNEL_DIGITS = 4  # of the channel number in nnU-Net's "case_0000"

_LABEL = re.compile(rf"(?:(?P<base>.*)[_.\- ])?(?:{'|'.join(LABEL_WORDS)})(?P<rest>[_.\- ].*)?", re.IGNORECASE)
_IMAGE = re.compile(rf"(?:(?P<base>.*)[_.\- ])?(?:{'|'.join(IMAGE_WORDS)})", re.IGNORECASE)
_CHANNEL = re.compile(rf"(?P<base>.+)_(?P<number>[0-9]{{{CHANNEL_DIGITS}}})")


class LabelName(NamedTuple):
    """The name of a label map taken apart: "p1_seg-manual" has the base "p1" and the rest "-manual"."""

    base: str
    rest: str


def label_name(stem: str) -> LabelName | None:
    """Take the name of a label map apart at its last word for "label"; None if it has no such word.

    >>> label_name("brain1_label"), label_name("x_ct_seg-manual"), label_name("gt"), label_name("scan")
    (LabelName(base='brain1', rest=''), LabelName(base='x_ct', rest='-manual'), LabelName(base='', rest=''), None)
    """
    match = _LABEL.fullmatch(stem)
    return LabelName(match["base"] or "", match["rest"] or "") if match else None


def without_image_word(stem: str) -> str:
    """Return a name without a closing word for "image": "brain1_image" becomes "brain1", "image" becomes "".

    >>> without_image_word("brain1_image"), without_image_word("p1_flair")
    ('brain1', 'p1_flair')
    """
    match = _IMAGE.fullmatch(stem)
    return (match["base"] or "") if match else stem


def plain_name(stem: str) -> str:
    """Return what is left of a name without words for "image" and "label", in small letters.

    >>> plain_name("img1"), plain_name("Mask_1"), plain_name("ISIC_07_segmentation"), plain_name("ISIC_07")
    ('1', '1', 'isic_07', 'isic_07')
    """
    words = [word for word in re.split(r"[_.\- ]+|(?<=[^\W\d])(?=\d)", stem.lower()) if word]
    return "_".join(word for word in words if word not in PLAIN_WORDS)


def is_image_word(name: str) -> bool:
    """Tell whether a name is nothing but a word for "image".

    >>> is_image_word("CT"), is_image_word("p1_ct")
    (True, False)
    """
    return name.lower() in IMAGE_WORDS


def split_of(folders: Sequence[str]) -> str | None:
    """Return the split that one of the folders on the way to a file names, or None.

    >>> split_of(("data", "Training", "p1")), split_of(("tests",))
    ('train', None)
    """
    return next((SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS), None)


def channel_number(stem: str) -> tuple[str, int] | None:
    """Take nnU-Net's "case_0001" apart into case and number of the channel; None for other names.

    >>> channel_number("p_1_0001"), channel_number("p_1")
    (('p_1', 1), None)
    """
    match = _CHANNEL.fullmatch(stem)
    return (match["base"], int(match["number"])) if match else None


def common_name(paths: Sequence[str]) -> str:
    """Return what the paths of several images of one case have in common, up to a separator; else the first path.

    >>> common_name(["d/p1_t1", "d/p1_t2"]), common_name(["p1/t1", "p1/t2"]), common_name(["a", "b"])
    ('d/p1', 'p1', 'a')
    """
    if len(paths) == 1:
        return paths[0]
    pieces = [re.split(r"([/_.\- ])", path) for path in paths]
    shared = []
    for column in zip(*pieces, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return "".join(shared).rstrip("/_.- ") or paths[0]


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Name cases by the last part of their paths, or by all of it where that repeats.

    >>> distinct_names(["a/x", "b/x", "b/y"]), distinct_names(["case_0/ct", "case_1/ct"])
    (['a_x', 'b_x', 'y'], ['case_0_ct', 'case_1_ct'])
    """
    last = Counter(PurePosixPath(path).name for path in paths)
    return [
        name if last[name] == 1 else path.replace("/", "_") for path in paths for name in (PurePosixPath(path).name,)
    ]
