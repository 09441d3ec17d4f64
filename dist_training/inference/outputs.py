"""What the channels of a network's logits mean, and which class they amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dist_training.inference.pixels import likeliest, softmax
from r2d2_base.errors import ConfigurationError

__all__ = ["NetworkOutputs", "outputs_of"]


@dataclass(frozen=True)
class NetworkOutputs:
    """The meaning of a network's outputs; make it with ``of_classes`` or ``of_regions``.

    Attributes:
        kind: "classes": a softmax over all classes, or for two of them the one logit of a sigmoid for class 1;
            "regions": the logit of a sigmoid for each of several regions, which may overlap.
        num_outputs: channels of the logits.
        regions: of kind "regions": {name: class indices that make the region up}, in the order of the outputs;
            else empty.
        num_classes: classes, background included.
    """

    kind: Literal["classes", "regions"]
    num_outputs: int
    num_classes: int
    regions: Mapping[str, tuple[int, ...]]

    @classmethod
    def of_classes(cls, num_classes: int) -> NetworkOutputs:
        """Give a network one output a class; two classes share one.

        >>> NetworkOutputs.of_classes(2).num_outputs, NetworkOutputs.of_classes(3).num_outputs
        (1, 3)
        """
        return cls("classes", 1 if num_classes == 2 else num_classes, num_classes, {})

    @classmethod
    def of_regions(cls, labels: Mapping[str, int], regions: Mapping[str, Sequence[int]]) -> NetworkOutputs:
        """Give a network one output a region, and one for each label that is in none.

        Args:
            labels: {name: value}, background 0 included.
            regions: {name: values that make it up}.

        Raises:
            ConfigurationError: two labels belong to the same regions, so that no output tells them apart.

        >>> labels = {"background": 0, "liver": 1, "tumour": 2, "liver+tumour": 3}
        >>> NetworkOutputs.of_regions(labels, {"liver": (1, 3), "tumour": (2, 3)}).table.tolist()
        [[False, False], [True, False], [False, True], [True, True]]
        """
        values = sorted(labels.values())
        names = {value: name for name, value in labels.items()}
        covered = {value for part in regions.values() for value in part}
        every = {**regions, **{names[value]: (value,) for value in values if value and value not in covered}}
        indices = {name: tuple(values.index(value) for value in part) for name, part in every.items()}
        outputs = cls("regions", len(indices), len(values), indices)
        seen: dict[bytes, str] = {}
        for value, row in zip(values, outputs.table, strict=True):
            other = seen.setdefault(row.tobytes(), names[value])
            if other != names[value]:
                raise ConfigurationError(
                    f"labels {other} and {names[value]} belong to the same regions ({', '.join(regions)}), so one "
                    f"output a region cannot tell them apart; declare {names[value]} as a region of its own when "
                    "preparing, or use training.region_outputs=false"
                )
        return outputs

    @property
    def table(self) -> np.ndarray:
        """Bool (num_classes, num_outputs): the regions that each class belongs to."""
        table = np.zeros((self.num_classes, self.num_outputs), dtype=bool)
        for output, classes in enumerate(self.regions.values()):
            table[list(classes), output] = True
        return table

    def region_values(self, class_values: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Give {name: label values} of the regions, in the order of the outputs; empty for classes.

        Args:
            class_values: label value of each class index.
        """
        return {name: tuple(class_values[index] for index in part) for name, part in self.regions.items()}

    def scored_names(self, labels: Mapping[str, int]) -> list[str]:
        """Name what validation scores: the regions, or the labels of the foreground classes in their order.

        Args:
            labels: {name: value}, background 0 included.
        """
        return list(self.regions) if self.kind == "regions" else sorted(labels, key=labels.__getitem__)[1:]

    @property
    def loss_regions(self) -> np.ndarray | None:
        """What ``build_loss`` takes as ``regions``."""
        return self.table if self.kind == "regions" else None

    def decode(self, logits: Any) -> Any:
        """Decide on a class for each pixel; works on arrays and tensors of any Keras backend, compiled or not.

        Of classes, the likeliest. Of regions, those whose logits exceed 0 are taken together: the class that belongs
        to just these, else the one whose regions differ least in number; of several, that of the smallest label.

        Args:
            logits: (..., num_outputs).

        Returns:
            Integers (...), class indices.

        >>> outputs = NetworkOutputs.of_regions({"background": 0, "a": 1, "b": 2}, {"whole": (1, 2), "core": (2,)})
        >>> outputs.decode(np.array([[-1.0, -2.0], [0.5, -2.0], [0.5, 3.0]])).numpy().tolist()
        [0, 1, 2]
        """
        from keras import ops

        if self.kind == "regions":
            # The class that differs least from predicted regions b: least |b| + |t| - 2 b t over its own regions t.
            table = self.table.astype(np.float32)
            inside = ops.cast(ops.convert_to_tensor(logits) > 0, "float32")
            return ops.argmax(ops.matmul(inside, 2 * table.T) - table.sum(axis=1), axis=-1)
        if self.num_outputs == 1:
            return ops.cast(ops.convert_to_tensor(logits)[..., 0] > 0, "int32")
        return ops.argmax(logits, axis=-1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits into what may be averaged between voxels: of a softmax, or of one sigmoid an output.

        Args:
            logits: (..., num_outputs).

        Returns:
            The same shape and dtype, from 0 to 1.
        """
        if self.is_softmax:
            return softmax(logits)
        return 0.5 * (1 + np.tanh(0.5 * logits))

    def decode_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Decide as ``decode`` does, from probabilities (..., num_outputs).

        Returns:
            Integers (...), class indices.
        """
        from keras import ops

        if self.is_softmax:
            return likeliest(probabilities)
        return ops.convert_to_numpy(self.decode(probabilities - 0.5))

    @property
    def is_softmax(self) -> bool:
        """Whether the probabilities of a pixel add up to 1."""
        return self.kind == "classes" and self.num_outputs > 1


def outputs_of(labels: Mapping[str, int], regions: Mapping[str, Sequence[int]], *, has_regions: bool) -> NetworkOutputs:
    """Choose the outputs of a network for the labels of a dataset.

    Args:
        labels: {name: value}, background 0 included.
        regions: {name: values that make it up}.
        has_regions: one output a region (``TrainingSettings.region_outputs``).

    Raises:
        ConfigurationError: outputs for regions where there are none, or two labels belong to the same ones.
    """
    if not has_regions:
        return NetworkOutputs.of_classes(len(labels))
    if not regions:
        raise ConfigurationError(
            "training.region_outputs needs a dataset whose labels overlap, with regions; received one without; "
            "prepare it with preparation.regions, or use training.region_outputs=false"
        )
    return NetworkOutputs.of_regions(labels, regions)
