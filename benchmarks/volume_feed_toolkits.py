"""How other toolkits augment patches of a volume, for volume_feed_speed.py.

Run under .venv-peers; takes what is to be done as JSON, then makes some patches for each line that comes, and answers
with the seconds of processor time that one took.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

ANGLE, ZOOM = math.pi / 6, (0.7, 1.4)
Augment = Callable[[np.ndarray, np.ndarray], Any]
"""From image (channels, slices, rows, columns) and labels (1, slices, rows, columns) of a box to those of a patch."""


def monai_way(job: dict[str, Any]) -> Augment:
    from monai import transforms

    keys = ("image", "label")
    turn = transforms.RandAffined(
        keys,
        prob=1,
        rotate_range=(ANGLE,) * 3,
        scale_range=((1 / ZOOM[1] - 1, 1 / ZOOM[0] - 1),) * 3,
        spatial_size=job["patch"],
        mode=("bilinear", "nearest"),
        padding_mode="border",
    )
    return lambda image, label: turn({"image": torch.from_numpy(image), "label": torch.from_numpy(label)})


def torchio_way(job: dict[str, Any]) -> Augment:
    import torchio

    turn = torchio.RandomAffine(
        scales=ZOOM,
        degrees=math.degrees(ANGLE),
        isotropic=True,
        image_interpolation="linear",
        default_pad_value="minimum",
    )
    crop = torchio.CropOrPad(tuple(job["patch"]))

    def augment(image: np.ndarray, label: np.ndarray) -> Any:
        subject = torchio.Subject(
            image=torchio.ScalarImage(tensor=torch.from_numpy(image)),
            label=torchio.LabelMap(tensor=torch.from_numpy(label)),
        )
        changed = crop(turn(subject))
        return changed["image"].data, changed["label"].data

    return augment


def batchgenerators_way(job: dict[str, Any]) -> Augment:
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    if job["task"] == "nnunet":
        change = nnUNetTrainer.get_training_transforms(
            np.array(job["patch"]), (-ANGLE, ANGLE), None, (0, 1, 2), False, use_mask_for_norm=[False] * job["channels"]
        )
    else:
        change = SpatialTransform(
            job["patch"],
            patch_center_dist_from_border=0,
            random_crop=False,
            p_elastic_deform=0,
            p_rotation=1,
            rotation=(-ANGLE, ANGLE),
            p_scaling=1,
            scaling=ZOOM,
            p_synchronize_scaling_across_axes=1,
            bg_style_seg_sampling=False,
        )

    def augment(image: np.ndarray, label: np.ndarray) -> Any:
        return change(image=torch.from_numpy(image), segmentation=torch.from_numpy(label.astype(np.int16)))

    return augment


WAYS = {"monai": monai_way, "torchio": torchio_way, "batchgenerators": batchgenerators_way}


def enlarged(patch: list[int]) -> list[int]:
    """The box that nnU-Net's trainer reads for a patch that will be turned and zoomed."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

    ranges = ((-ANGLE, ANGLE),) * 3
    return [int(length) for length in get_patch_size(patch, *ranges, (0.85, 1.25))]


def box_of(volume: np.ndarray, corner: list[int], size: list[int]) -> np.ndarray:
    """Read a box of (slices, rows, columns, ...), padded where the volume ends, channels first."""
    inside = tuple(
        slice(max(0, first), min(length, first + count))
        for first, length, count in zip(corner, volume.shape, size, strict=False)
    )
    padding = [
        (part.start - first, first + count - part.stop) for part, first, count in zip(inside, corner, size, strict=True)
    ]
    box = np.asarray(volume[inside]).reshape(*(part.stop - part.start for part in inside), -1)
    return np.ascontiguousarray(np.moveaxis(np.pad(box, [*padding, (0, 0)], mode="edge"), -1, 0))


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    image, label = (np.load(job[kind], mmap_mode="r") for kind in ("image", "label"))
    job["channels"] = image.shape[-1]
    mean, deviation = np.float32(image.mean()), np.float32(image.std())
    augment, size = WAYS[job["toolkit"]](job), enlarged(job["patch"])
    generator = np.random.default_rng(0)
    for _ in sys.stdin:
        begin = time.process_time()
        for _ in range(job["patches"]):
            spare = [length - count for length, count in zip(label.shape, job["patch"], strict=True)]
            corner = [
                int(generator.integers(room + 1)) - (wide - count) // 2
                for room, wide, count in zip(spare, size, job["patch"], strict=True)
            ]
            box = (box_of(image, corner, size) - mean) / deviation
            augment(box, box_of(label, corner, size))
        print((time.process_time() - begin) / job["patches"], flush=True)


if __name__ == "__main__":
    main()
