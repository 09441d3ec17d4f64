"""The 3D U-Net of R2D2 trained with PyTorch, for volume_training_speed.py.

Run under .venv-peers; takes what is to be done as JSON, then makes some steps for each line that comes, and answers
with the seconds of processor time that one took.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from torch import nn

CLASSES, DEPTH, GROUPS = 3, 3, 8


def convolution(inputs: int, outputs: int) -> nn.Module:
    """3x3x3 convolution, group normalisation, ReLU."""
    groups = max(count for count in range(1, GROUPS + 1) if outputs % count == 0)
    layers = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(groups, outputs, eps=1e-5)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class UNet(nn.Module):
    """The 3D U-Net as `dist_training.architectures.unet` builds it."""

    def __init__(self, base: int) -> None:
        super().__init__()
        filters = [base * 2**level for level in range(DEPTH + 1)]
        self.down, self.up, self.enlarge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        previous = 1
        for width in filters:
            self.down.append(nn.Sequential(convolution(previous, width), convolution(width, 2 * width)))
            previous = 2 * width
        for width in reversed(filters[:-1]):
            self.enlarge.append(nn.ConvTranspose3d(previous, previous, 2, stride=2, bias=False))
            self.up.append(
                nn.Sequential(convolution(previous + 2 * width, 2 * width), convolution(2 * width, 2 * width))
            )
            previous = 2 * width
        self.logits = nn.Conv3d(previous, CLASSES, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in self.down[:-1]:
            skips.append(level(maps))
            maps = nn.functional.max_pool3d(skips[-1], 2)
        maps = self.down[-1](maps)
        for enlarge, level in zip(self.enlarge, self.up, strict=True):
            maps = level(torch.cat([skips.pop(), enlarge(maps)], dim=1))
        return self.logits(maps)


def loss_of(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice of each sample's foreground."""
    logits = logits.float()
    shares = torch.softmax(logits, dim=1)[:, 1:]
    wanted = torch.stack([classes == value for value in range(1, CLASSES)], dim=1).float()
    both, sizes = (shares * wanted).sum(dim=(2, 3, 4)), (shares + wanted).sum(dim=(2, 3, 4))
    return nn.functional.cross_entropy(logits, classes) + 1 - (2 * both / sizes).mean()


def main() -> None:
    job: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layout = getattr(torch, job["layout"])
    network = UNet(job["base"]).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    shape = (job["batch"], *job["patch"])
    images = torch.randn(job["batch"], 1, *job["patch"]).to(memory_format=layout)
    classes = torch.randint(0, CLASSES, shape)
    for _ in sys.stdin:
        begin = time.process_time()
        for _ in range(job["steps"]):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=job["dtype"] == "mixed_bfloat16"):
                logits = network(images)
            loss_of(logits, classes).backward()
            optimizer.step()
        print((time.process_time() - begin) / job["steps"], flush=True)


if __name__ == "__main__":
    main()
