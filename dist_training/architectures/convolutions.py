"""What the networks are made of: convolution, normalisation and activation, as one step with one name."""

from dataclasses import dataclass
from typing import Any

from keras import layers

from dist_training.architectures.initial import he_normal
from dist_training.architectures.normalisation import build_normalisation
from dist_training.architectures.one_pixel import ENOUGH_CHANNELS
from dist_training.architectures.settings import NormalisationKind

__all__ = ["Convolutions"]


@dataclass(frozen=True)
class Convolutions:
    """How the convolutions of one network are made.

    Weights are drawn as He et al. (2015) say. With normalisation the convolution has no bias: the normalisation's own
    shift takes its place (for batch and instance normalisation a bias would change nothing; for group normalisation
    only the channels' offsets within a group).

    Attributes:
        normalisation: what follows each convolution.
        groups: wanted number of groups, see ``group_count``.
        seed: the network's.
        negative_slope: of the activation below zero: 0 is ReLU.
    """

    normalisation: NormalisationKind
    groups: int
    seed: int
    negative_slope: float = 0.0

    def __call__(
        self, maps: Any, name: str, filters: int, size: int = 3, *, stride: int = 1, is_activated: bool = True
    ) -> Any:
        """Convolve, normalise and activate; the layers are ``name``, ``name_normalisation`` and ``name_relu``.

        Args:
            maps: (N, H, W, C).
            name: of the convolution.
            filters: channels of the result.
            size: pixels of the kernel along both axes, odd.
            stride: pixels of the maps between two of the result. The border is as wide on all sides, as in the papers
                and other than Keras's "same", which gives a strided convolution less above and on the left. Where
                a kernel of one pixel meets few channels, a layer of its own leaves out the pixels, see `one_pixel`.
            is_activated: whether the activation follows.

        Returns:
            (N, H / stride, W / stride, filters).
        """
        normalisation = build_normalisation(self.normalisation, filters, self.groups, f"{name}_normalisation")
        is_padded = stride > 1 and size > 1
        if is_padded:
            maps = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(maps)
        elif stride > 1 and maps.shape[-1] < ENOUGH_CHANNELS:  # with more it would take a fifth longer
            maps, stride = layers.AveragePooling2D(1, strides=stride, name=f"{name}_subsample")(maps), 1
        maps = layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding="valid" if is_padded else "same",
            use_bias=normalisation is None,
            kernel_initializer=he_normal(self.seed, name),
            name=name,
        )(maps)
        if normalisation is not None:
            maps = normalisation(maps)
        return self.activate(maps, name) if is_activated else maps

    def activate(self, maps: Any, name: str) -> Any:
        """Apply the activation, as the layer ``name_relu``."""
        return layers.ReLU(negative_slope=self.negative_slope, name=f"{name}_relu")(maps)

    def enlarge(self, maps: Any, name: str, filters: int) -> Any:
        """Double height and width by a 2x2 transposed convolution, without an activation, as U-Net does.

        Keras's He initialiser counts the fan-in of a transposed kernel (2, 2, filters, 2 * filters) as 4 * filters:
        its variance 2 / (4 * filters) is 1 / (2 * filters), one over the inputs of each output pixel, which keeps
        the signal's variance where no ReLU follows.
        """
        return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=he_normal(self.seed, name), name=name)(
            maps
        )
