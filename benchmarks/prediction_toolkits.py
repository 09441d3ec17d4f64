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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

GROUPS = 8


class Convolution(nn.Module):
    """3x3 convolution, group normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.normalisation = nn.GroupNorm(GROUPS, outputs, eps=1e-5)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.normalisation(self.convolution(maps)))


class DistUNet(nn.Module):
    """Dist-U-Net as `dist_training.architectures.unet` builds it; the names are those of its layers."""

    def __init__(self, filters: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.depth = depth
        self.parts = nn.ModuleDict()
        previous = 1
        for level in range(depth + 1):
            name, width = f"down{level}" if level < depth else "bottom", filters * 2**level
            self.parts[f"{name}a"], self.parts[f"{name}b"] = Convolution(previous, width), Convolution(width, width)
            previous = width
        for level in reversed(range(depth)):
            width = filters * 2**level
            self.parts[f"up{level}_transposed"] = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            self.parts[f"up{level}a"], self.parts[f"up{level}b"] = (
                Convolution(2 * width, width),
                Convolution(width, width),
            )
        self.parts["logits"] = nn.Conv2d(filters, outputs, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in range(self.depth):
            skips.append(self.parts[f"down{level}b"](self.parts[f"down{level}a"](maps)))
            maps = nn.functional.max_pool2d(skips[-1], 2)
        maps = self.parts["bottomb"](self.parts["bottoma"](maps))
        for level in reversed(range(self.depth)):
            maps = torch.cat([skips[level], self.parts[f"up{level}_transposed"](maps)], dim=1)
            maps = self.parts[f"up{level}b"](self.parts[f"up{level}a"](maps))
        return self.parts["logits"](maps)

    def take(self, weights: dict[str, np.ndarray]) -> DistUNet:
        """Take over Keras's weights, by "layer/number"."""
        with torch.no_grad():
            for name, part in self.parts.items():
                kernel = torch.from_numpy(weights[f"{name}/0"].transpose(3, 2, 0, 1).copy())
                if isinstance(part, Convolution):
                    part.convolution.weight.copy_(kernel)
                    for number, target in enumerate((part.normalisation.weight, part.normalisation.bias)):
                        target.copy_(torch.from_numpy(weights[f"{name}_normalisation/{number}"]))
                else:
                    part.weight.copy_(kernel)
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
    axes = [(), (2,), (3,), (2, 3)] if job["flips"] else [()]

    def predict(scan: Path, out: Path) -> None:
        image = read(scan)  # (1, x, y, slices), in the scan's own order: the scans here lie as the network wants them
        slices = image.as_tensor().permute(3, 0, 1, 2)

        def looked_at(batch: torch.Tensor) -> torch.Tensor:
            scores = network(batch)
            for turned in axes[1:]:
                scores = scores + torch.flip(network(torch.flip(batch, turned)), turned)
            return scores / len(axes)

        with torch.inference_mode():
            scores = sliding_window_inference(
                slices, window, job["at_a_time"], looked_at, overlap=job["overlap"], mode="gaussian", sigma_scale=0.125
            )
            labels = scores.argmax(dim=1, keepdim=True).permute(1, 2, 3, 0).to(torch.uint8)
        save = transforms.SaveImage(
            output_dir=out, output_postfix="", separate_folder=False, output_dtype=np.uint8, print_log=False
        )
        save(MetaTensor(labels, meta=image.meta))

    return predict


def nnunet_way(network: nn.Module, job: dict[str, Any]) -> Callable[[Path, Path], None]:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plain = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 1,
        "patch_size": list(job["window"]),
        "spacing": [1.0, 1.0],
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
            "configurations": {"2d": configuration},
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
        plans.get_configuration("2d"),
        [network.state_dict()],
        dataset,
        "x",
        (0, 1) if job["flips"] else None,
    )

    def predict(scan: Path, out: Path) -> None:
        name = out / scan.name.removesuffix(".nii.gz")
        with contextlib.redirect_stdout(io.StringIO()):
            predictor.predict_from_files_sequential([[str(scan)]], [str(name)])

    return predict


WAYS = {"monai": monai_way, "nnunet": nnunet_way}


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    network = DistUNet(job["filters"], job["depth"], job["outputs"]).take(dict(np.load(job["weights"])))
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
