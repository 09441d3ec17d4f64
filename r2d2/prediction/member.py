"""One trained network with its card: from the slices of a prepared scan to probabilities."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.architectures import read_network
from dist_training.architectures.network_file import check_network_file
from dist_training.errors import WeightsError
from dist_training.inference.model_card import read_model_card
from imgmed.network_input import NetworkInput

__all__ = ["Member"]

MAPS_HELD = 4


class Member:
    """A trained network with all that its card says about scans; the network itself is read when it is first used.

    Args:
        path: what `read_model_card` takes.
        trust_code: whether a module that the card names may be imported, for the layers of a network of one's own.

    Raises:
        ModelError: there is no such network, or it is damaged.
        WeightsError: its file is damaged, or asks for more than its weights, see ``network_file``.
    """

    def __init__(self, path: Path, *, trust_code: bool = False) -> None:
        self.path, self.card = read_model_card(path)
        check_network_file(self.path)  # before scans are looked at
        self._trust_code = trust_code
        self.outputs = self.card.outputs
        preparation = self.card.scan_preparation
        self.input = NetworkInput(self.card.normalisation, preparation.neighbours, preparation.slice_size)

    @cached_property
    def _network(self) -> Any:
        try:
            return read_network(self.path, self.card.network if self._trust_code else None)
        except WeightsError as error:
            named = getattr(self.card.network, "build", None)
            if named is None or self._trust_code:
                raise
            raise WeightsError(
                f"{self.path} has layers that only code of its own knows; its card names {named}: if you trust that,"
                " --trust-code imports it"
            ) from error

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Apply the network.

        Args:
            inputs: float32 (n, height, width, channels), normalised; of volumes (n, slices, height, width, channels).

        Returns:
            float32, of the inputs' size and the outputs, from 0 to 1.

        Raises:
            MemoryError: there was too little.
        """
        try:
            logits = self._network.predict_on_batch(inputs)
        except Exception as error:
            if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
                raise MemoryError(str(error).splitlines()[0]) from error
            raise
        return self.outputs.probabilities(np.asarray(logits, dtype=np.float32))

    def bytes_for(self, size: tuple[int, ...]) -> float:
        """Tell how much memory the network needs at least for one slice of (height, width), or window of a volume.

        At its first resolution it holds about four times what its first convolution gives: 4.5 measured for the
        Dist-U-Net (depth 1, 4 filters, 4096 x 4096 pixels).
        """
        first = next((layer for layer in self._network.layers if hasattr(layer, "filters")), None)
        maps = 1 if first is None else first.filters / math.prod(first.strides)
        return 4 * math.prod(size) * MAPS_HELD * maps
