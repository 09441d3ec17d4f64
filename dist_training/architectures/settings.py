"""What may be chosen about each network: validated, frozen, and importable without loading Keras."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FCNSettings", "NetworkSettings", "NormalisationKind", "UNetSettings"]

NormalisationKind = Literal["group", "instance", "batch", "none"]


class UNetSettings(BaseModel):
    """Choices for Dist-U-Net, the U-Net of Ronneberger et al. (2015) with ``same`` padding.

    >>> UNetSettings(depth=3).size_multiple
    8
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["unet"] = "unet"
    depth: int = Field(default=4, ge=1, le=7, description="number of poolings")
    base_filters: int = Field(
        default=16, ge=1, le=1024, description="filters of the first level; they double with every pooling"
    )
    normalisation: NormalisationKind = Field(
        default="group",
        description="what follows each convolution; group and instance do not depend on the batch",
    )
    groups: int = Field(
        default=8,
        ge=1,
        description="groups of group normalisation; a level uses the largest divisor of its filters up to this",
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="rate of the dropout at the end of the contracting path"
    )

    @property
    def size_multiple(self) -> int:
        """Heights and widths that are multiples of this many pixels need no padding inside the network."""
        return int(2**self.depth)


class FCNSettings(BaseModel):
    """Choices for Dist-FCN, the FCN-8s of Long et al. (2015) on a VGG trunk.

    The default trunk is ``vgg19``: two, two, four, four and four convolutions, as the R2D2 paper describes its
    Dist-FCN; ``vgg16`` is that of Long et al. The default ``width`` makes it about as large as the default
    Dist-U-Net (2 million weights), so that it trains on a small machine; the published network is ``width=1``
    (140 million), and only that width can start from ImageNet weights.

    >>> FCNSettings(trunk="vgg16").size_multiple
    32
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["fcn"] = "fcn"
    trunk: Literal["vgg16", "vgg19"] = Field(default="vgg19", description="which VGG network is the trunk")
    width: float = Field(
        default=0.125, gt=0.0, le=1.0, description="factor on the number of channels of every layer of the trunk"
    )
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0, description="rate of the dropout after fc6 and fc7")
    pretrained_weights: str | None = Field(
        default=None,
        description="ImageNet weights to start from: 'imagenet' (fetched by Keras), or the path of a Keras VGG file",
    )

    @property
    def size_multiple(self) -> int:
        """Heights and widths that are multiples of this many pixels need no padding inside the network."""
        return 32

    @model_validator(mode="after")
    def _pretrained_weights_fit(self) -> Self:
        if self.pretrained_weights is not None and self.width != 1.0:
            raise ValueError(
                "pretrained_weights exist for the full width only; "
                f"received width={self.width:g}; use width=1.0, or pretrained_weights=None"
            )
        return self


NetworkSettings = Annotated[UNetSettings | FCNSettings, Field(discriminator="architecture")]
