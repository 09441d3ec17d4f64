"""How MONAI and nnU-Net predict a volume, for prediction_peers.py, with the Dist-U-Net of R2D2 in PyTorch.

Run under .venv-peers; takes what is to be done as JSON, then predicts the scan that each line names, and answers with
the seconds that it took.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

GROUPS = 8


CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
ENLARGEMENTS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLINGS = {2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}


class Convolution(nn.Module):
    """Convolution of three pixels along each axis, group normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, axes: int) -> None:
        super().__init__()
        self.convolution = CONVOLUTIONS[axes](inputs, outputs, 3, padding=1, bias=False)
        self.normalisation = nn.GroupNorm(GROUPS, outputs, eps=1e-5)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.normalisation(self.convolution(maps)))


class DistUNet(nn.Module):
    """Dist-U-Net as `dist_training.architectures.unet` builds it; the names are those of its layers."""

    def __init__(self, filters: int, depth: int, outputs: int, axes: int) -> None:
        super().__init__()
        self.depth, self.pool = depth, POOLINGS[axes]
        self.parts = nn.ModuleDict()
        growth, previous = axes - 1, 1  # of volumes, filters double before the pooling
        for level in range(depth + 1):
            name, width = f"down{level}" if level < depth else "bottom", filters * 2**level
            self.parts[f"{name}a"] = Convolution(previous, width, axes)
            self.parts[f"{name}b"] = Convolution(width, growth * width, axes)
            previous = growth * width
        for level in reversed(range(depth)):
            wide, enlarged = growth * filters * 2**level, previous * growth // 2
            self.parts[f"up{level}_transposed"] = ENLARGEMENTS[axes](previous, enlarged, 2, stride=2, bias=axes == 2)
            self.parts[f"up{level}a"] = Convolution(wide + enlarged, wide, axes)
            self.parts[f"up{level}b"] = Convolution(wide, wide, axes)
            previous = wide
        self.parts["logits"] = CONVOLUTIONS[axes](previous, outputs, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in range(self.depth):
            skips.append(self.parts[f"down{level}b"](self.parts[f"down{level}a"](maps)))
            maps = self.pool(skips[-1], 2)
        maps = self.parts["bottomb"](self.parts["bottoma"](maps))
        for level in reversed(range(self.depth)):
            maps = torch.cat([skips[level], self.parts[f"up{level}_transposed"](maps)], dim=1)
            maps = self.parts[f"up{level}b"](self.parts[f"up{level}a"](maps))
        return self.parts["logits"](maps)

    def take(self, weights: dict[str, np.ndarray]) -> DistUNet:
        """Take over Keras's weights, by "layer/number"."""
        with torch.no_grad():
            for name, part in self.parts.items():
                kernel = weights[f"{name}/0"]
                turned = torch.from_numpy(kernel.transpose(-1, -2, *range(kernel.ndim - 2)).copy())
                if isinstance(part, Convolution):
                    part.convolution.weight.copy_(turned)
                    for number, target in enumerate((part.normalisation.weight, part.normalisation.bias)):
                        target.copy_(torch.from_numpy(weights[f"{name}_normalisation/{number}"]))
                    continue
                part.weight.copy_(turned)
                if part.bias is not None:
                    part.bias.copy_(torch.from_numpy(weights[f"{name}/1"]))
        return self.eval()


def monai_way(network: nn.Module, job: dict[str, Any]) -> Callable[[Path, Path], None]:
    from monai import transforms
    from monai.data import MetaTensor
    from monai.inferers import sliding_window_inference

    window = tuple(job["window"])
    read = transforms.Compose(
        [transforms.LoadImage(image_only=True, ensure_channel_first=True), transforms.NormalizeIntensity()]
    )
    is_volume = len(window) == 3
    every = [axes for count in range(len(window) + 1) for axes in combinations(range(2, 2 + len(window)), count)]
    axes = every if job["flips"] else [()]

    def predict(scan: Path, out: Path) -> None:
        image = read(scan)  # (1, x, y, slices), in the scan's own order: the scans here lie as the network wants them
        array = image.as_tensor()
        inputs = array.permute(0, 3, 1, 2)[None] if is_volume else array.permute(3, 0, 1, 2)

        def looked_at(batch: torch.Tensor) -> torch.Tensor:
            scores = network(batch)
            for turned in axes[1:]:
                scores = scores + torch.flip(network(torch.flip(batch, turned)), turned)
            return scores / len(axes)

        with torch.inference_mode():
            scores = sliding_window_inference(
                inputs, window, job["at_a_time"], looked_at, overlap=job["overlap"], mode="gaussian", sigma_scale=0.125
            )
            slices = scores.argmax(dim=1).to(torch.uint8)
            labels = slices.permute(0, 2, 3, 1) if is_volume else slices[None].permute(0, 2, 3, 1)
        save = transforms.SaveImage(
            output_dir=out, output_postfix="", separate_folder=False, output_dtype=np.uint8, print_log=False
        )
        save(MetaTensor(labels, meta=image.meta))

    return predict


def nnunet_way(network: nn.Module, job: dict[str, Any]) -> Callable[[Path, Path], None]:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    is_volume = len(job["window"]) == 3
    name = "3d_fullres" if is_volume else "2d"
    plain = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 1,
        "patch_size": list(job["window"]),
        "spacing": [3.0, 1.0, 1.0] if is_volume else [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_seg": resampling,
        "resampling_fn_probabilities": resampling,
        "resampling_fn_data_kwargs": plain,
        "resampling_fn_seg_kwargs": {**plain, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**plain, "order": 1},
        "architecture": {},
    }
    plans = PlansManager(
        {
            "dataset_name": "x",
            "plans_name": "x",
            "image_reader_writer": "SimpleITKIO",
            "label_manager": "LabelManager",
            "transpose_forward": [0, 2, 1],  # ITK gives (slice, column, row)
            "transpose_backward": [0, 2, 1],
            "foreground_intensity_properties_per_channel": {"0": {}},
            "configurations": {name: configuration},
        }
    )
    dataset = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, **{f"label_{value}": value for value in range(1, job["outputs"])}},
        "file_ending": ".nii.gz",
    }
    predictor = nnUNetPredictor(
        tile_step_size=1 - job["overlap"],
        use_mirroring=job["flips"],
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration(name),
        [network.state_dict()],
        dataset,
        "x",
        tuple(range(len(job["window"]))) if job["flips"] else None,
    )

    def predict(scan: Path, out: Path) -> None:
        label_map = out / scan.name.removesuffix(".nii.gz")
        with contextlib.redirect_stdout(io.StringIO()):
            predictor.predict_from_files_sequential([[str(scan)]], [str(label_map)])

    return predict


WAYS = {"monai": monai_way, "nnunet": nnunet_way}


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    network = DistUNet(job["filters"], job["depth"], job["outputs"], len(job["window"]))
    network = network.take(dict(np.load(job["weights"])))
    if job["layout"] == "channels_last":
        network = network.to(memory_format=torch.channels_last_3d)
    with contextlib.redirect_stdout(sys.stderr):
        predict = WAYS[job["toolkit"]](network, job)
    out = Path(job["out"])
    out.mkdir(parents=True)
    for line in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            predict(Path(line.strip()), out)
        print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]), flush=True)


if __name__ == "__main__":
    main()
