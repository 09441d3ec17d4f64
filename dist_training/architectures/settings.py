"""What may be chosen about each network: validated, frozen, and importable without loading Keras."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dist_training.own_code import is_own_name

__all__ = [
    "ArchitectureSettings",
    "C2FNASStyleSettings",
    "CustomSettings",
    "FCNSettings",
    "ImportedSettings",
    "LeveledSettings",
    "LivermaskUNetSettings",
    "NetworkSettings",
    "NormalisationKind",
    "ResNetUNetSettings",
    "ResidualUNetSettings",
    "UNetSettings",
]

NormalisationKind = Literal["group", "instance", "batch", "none"]


class ArchitectureSettings(BaseModel):
    """What the settings of all networks are: frozen, and refusing keys that they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Sizes that are multiples of so many pixels, axis by axis, need no padding inside the network."""
        return (1, 1)


class LeveledSettings(ArchitectureSettings, ABC):
    """What a U-shaped network of slices or volumes may be told of its levels."""

    dimensions: Literal[2, 3] = Field(
        default=2, description="2: of slices (height, width); 3: of volumes (depth, height, width)"
    )
    strides: tuple[tuple[Literal[1, 2, 4], ...], ...] | None = Field(
        default=None,
        description="from each level to the next, pixels along each axis that become one: [[1, 2, 2], [2, 2, 2]] keeps "
        "the depth once; null: 2 everywhere",
    )
    kernels: tuple[tuple[Literal[1, 3, 5], ...], ...] | None = Field(
        default=None,
        description="of each level, pixels of its convolutions' kernels along each axis: [[1, 3, 3], [3, 3, 3]] looks "
        "along the depth in the second only; null: 3 everywhere",
    )

    @property
    @abstractmethod
    def levels(self) -> int:
        """Number of resolutions."""

    @property
    def level_strides(self) -> tuple[tuple[int, ...], ...]:
        """Strides from each level to the next, by axis.

        >>> UNetSettings(depth=1, dimensions=3).level_strides
        ((2, 2, 2),)
        """
        return self.strides or ((2,) * self.dimensions,) * (self.levels - 1)

    @property
    def level_kernels(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of each level's kernels, by axis."""
        return self.kernels or ((3,) * self.dimensions,) * self.levels

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Sizes that are multiples of so many pixels, axis by axis, need no padding inside the network.

        >>> UNetSettings(depth=2, dimensions=3, strides=((1, 2, 2), (2, 2, 2))).size_multiples
        (2, 4, 4)
        """
        return tuple(math.prod(along) for along in zip(*self.level_strides, strict=True))

    @model_validator(mode="after")
    def _levels_have_their_axes(self) -> Self:
        for name, given, wanted in (("strides", self.strides, self.levels - 1), ("kernels", self.kernels, self.levels)):
            if given is not None and (len(given) != wanted or any(len(one) != self.dimensions for one in given)):
                raise ValueError(
                    f"{name} needs {wanted} lists of {self.dimensions} numbers, one for each axis; "
                    f"received {[list(one) for one in given]}"
                )
        return self


class UNetSettings(LeveledSettings):
    """Choices for Dist-U-Net, the U-Net of Ronneberger et al. (2015), of Çiçek et al. (2016) for volumes.

    >>> UNetSettings(depth=3).size_multiples
    (8, 8)
    """

    architecture: Literal["unet"] = "unet"
    depth: int = Field(default=4, ge=1, le=7, description="number of poolings")
    base_filters: int = Field(
        default=16, ge=1, le=1024, description="filters of the first level; they double with every pooling"
    )
    doubling: Literal["early", "late"] | None = Field(
        default=None,
        description="whether filters double before a pooling (early) or after it (late), where weights of slices fit "
        "volumes; null: as published, late for slices and early for volumes",
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
    def doubles_early(self) -> bool:
        """Whether filters double before a pooling.

        >>> UNetSettings().doubles_early, UNetSettings(dimensions=3).doubles_early
        (False, True)
        """
        return self.dimensions == 3 if self.doubling is None else self.doubling == "early"

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return self.depth + 1


class FCNSettings(ArchitectureSettings):
    """Choices for Dist-FCN, the fully convolutional networks of Long et al. (2015) on a VGG trunk.

    The default trunk is ``vgg19``: two, two, four, four and four convolutions, as the R2D2 paper describes its
    Dist-FCN; ``vgg16`` is that of Long et al. The default ``width`` makes it about as large as the default
    Dist-U-Net (2 million weights), so that it trains on a small machine; the published network is ``width=1``
    (140 million), and only that width can start from ImageNet weights.

    >>> FCNSettings(trunk="vgg16").size_multiples
    (32, 32)
    """

    architecture: Literal["fcn"] = "fcn"
    trunk: Literal["vgg16", "vgg19"] = Field(default="vgg19", description="which VGG network is the trunk")
    stride: Literal[8, 16, 32] = Field(
        default=8,
        description="pixels between the finest scores: 8 (FCN-8s joins pool3 and pool4), 16 (pool4) or 32 (neither)",
    )
    width: float = Field(
        default=0.125, gt=0.0, le=1.0, description="factor on the number of channels of every layer of the trunk"
    )
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0, description="rate of the dropout after fc6 and fc7")
    pretrained_weights: str | None = Field(
        default=None,
        description="ImageNet weights to start from: 'imagenet' (fetched by Keras), or the path of a Keras VGG file",
    )

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Heights and widths that are multiples of so many pixels need no padding inside the network."""
        return (32, 32)

    @model_validator(mode="after")
    def _pretrained_weights_fit(self) -> Self:
        if self.pretrained_weights is not None and self.width != 1.0:
            raise ValueError(
                "pretrained_weights exist for the full width only; "
                f"received width={self.width:g}; use width=1.0, or pretrained_weights=None"
            )
        return self


class ResNetUNetSettings(ArchitectureSettings):
    """Choices for a U-Net whose contracting path is a ResNet (He et al. 2016).

    Group normalisation is the default; encoder weights were learned with batch normalisation and bring it along.

    >>> ResNetUNetSettings(encoder_weights="imagenet", encoder="resnet50").normalisation
    'batch'
    """

    architecture: Literal["unet_resnet"] = "unet_resnet"
    encoder: Literal["resnet34", "resnet50"] = Field(default="resnet34", description="which ResNet is the encoder")
    base_filters: int = Field(
        default=64, ge=2, le=64, description="filters of the encoder's first convolution; 64 in the paper"
    )
    encoder_weights: str | None = Field(
        default=None,
        description="weights that the encoder starts from: 'imagenet' (resnet50, fetched by Keras), or the path of a "
        "Keras file; null: random",
    )
    normalisation: NormalisationKind = Field(
        default="group",
        description="what follows each convolution; batch goes with encoder_weights, and is their default",
    )
    groups: int = Field(
        default=8,
        ge=1,
        description="groups of group normalisation; a level uses the largest divisor of its filters up to this",
    )

    @model_validator(mode="before")
    @classmethod
    def _weights_bring_batch_normalisation(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("encoder_weights") is not None:
            return {"normalisation": "batch", **values}
        return values

    @model_validator(mode="after")
    def _encoder_weights_fit(self) -> Self:
        if self.encoder_weights is None:
            return self
        for name, value, wanted in (
            ("base_filters", self.base_filters, 64),
            ("normalisation", self.normalisation, "batch"),
        ):
            if value != wanted:
                raise ValueError(
                    f"encoder_weights go with {name}={wanted} only; received {name}={value}; "
                    f"use {name}={wanted}, or encoder_weights=null"
                )
        if self.encoder_weights == "imagenet" and self.encoder == "resnet34":
            raise ValueError(
                "Keras publishes no ImageNet weights of resnet34; use encoder=resnet50, "
                "or give encoder_weights the path of a Keras file of resnet34"
            )
        return self

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Heights and widths that are multiples of so many pixels need no padding inside the network."""
        return (32, 32)


class LivermaskUNetSettings(ArchitectureSettings):
    """Choices for the U-Nets of livermask (github.com/gpauloski/livermask), which segment livers and their tumours.

    >>> LivermaskUNetSettings(variant="full").filters
    (64, 128, 256, 512, 1024)
    """

    architecture: Literal["livermask_unet"] = "livermask_unet"
    variant: Literal["full", "half"] = Field(
        default="half", description="full: 64 to 1024 filters on five levels; half: 64, 128 and 192 on three"
    )
    base_filters: int = Field(
        default=64, ge=1, le=64, description="filters of the first level, which scale the others; 64 in livermask"
    )
    normalisation: NormalisationKind = Field(
        default="batch", description="what stands before each convolution; batch in livermask"
    )
    groups: int = Field(
        default=8,
        ge=1,
        description="groups of group normalisation; a level uses the largest divisor of its channels up to this",
    )
    dropout: float = Field(
        default=0.5, ge=0.0, lt=1.0, description="rate of the dropout of whole maps in the expanding path"
    )

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of each level, from the finest."""
        factors = (1, 2, 4, 8, 16) if self.variant == "full" else (1, 2, 3)
        return tuple(self.base_filters * factor for factor in factors)

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Heights and widths that are multiples of so many pixels need no padding inside the network."""
        return (int(2 ** (len(self.filters) - 1)),) * 2


class ResidualUNetSettings(LeveledSettings):
    """Choices for a residual U-Net with deep supervision, in the style of nnU-Net (Isensee et al. 2024).

    The defaults suit a small machine. nnU-Net's own "ResEnc" networks for slices are about
    ``blocks=(1, 3, 4, 6, 6, 6), base_filters=32``.

    >>> ResidualUNetSettings(blocks=(1, 2, 2), base_filters=8, max_filters=20).filters
    (8, 16, 20)
    """

    architecture: Literal["residual_unet"] = "residual_unet"
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 2, 2, 2, 2),
        min_length=2,
        max_length=8,
        description="residual blocks in each stage of the encoder; every stage after the first halves the size",
    )
    base_filters: int = Field(
        default=16, ge=1, le=1024, description="filters of the first stage; they double with every stage"
    )
    max_filters: int = Field(default=512, ge=1, le=4096, description="filters that no stage exceeds")
    normalisation: NormalisationKind = Field(
        default="instance",
        description="what follows each convolution; group and instance do not depend on the batch",
    )
    groups: int = Field(
        default=8,
        ge=1,
        description="groups of group normalisation; a stage uses the largest divisor of its filters up to this",
    )
    deep_supervision: bool = Field(
        default=True, description="train on logits at half, a quarter ... of the size too, all but the coarsest"
    )

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of each stage, from the finest."""
        return tuple(min(self.base_filters * 2**stage, self.max_filters) for stage in range(len(self.blocks)))

    @property
    def output_strides(self) -> tuple[tuple[int, ...], ...]:
        """Pixels of the image between those of each output, by axis, from the finest, which is the prediction.

        >>> ResidualUNetSettings().output_strides, ResidualUNetSettings(deep_supervision=False).output_strides
        (((1, 1), (2, 2), (4, 4)), ((1, 1),))
        """
        count = max(1, len(self.blocks) - 2) if self.deep_supervision else 1
        before = [self.level_strides[:level] for level in range(count)]
        ones = (1,) * self.dimensions
        return tuple(tuple(math.prod(along) for along in zip(ones, *strides, strict=True)) for strides in before)

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.blocks)


class C2FNASStyleSettings(ArchitectureSettings):
    """Choices for a network of volumes of 2D, pseudo-3D and 3D cells, in the style of C2FNAS (Yu et al. 2020).

    >>> C2FNASStyleSettings().size_multiples
    (16, 16, 16)
    """

    architecture: Literal["c2fnas_style"] = "c2fnas_style"
    dimensions: Literal[3] = Field(default=3, description="3: of volumes (depth, height, width)")
    base_filters: int = Field(
        default=16, ge=1, le=1024, description="filters at the size of the volume; they double with every halving"
    )
    normalisation: NormalisationKind = Field(
        default="instance",
        description="what follows the convolutions; group and instance do not depend on the batch",
    )
    groups: int = Field(
        default=8,
        ge=1,
        description="groups of group normalisation; a level uses the largest divisor of its filters up to this",
    )

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """Sizes that are multiples of so many voxels, axis by axis, need no padding inside the network."""
        return (16, 16, 16)


class CustomSettings(ArchitectureSettings):
    """A network of the user's own: a function that builds any Keras model.

    >>> CustomSettings(build="my_module:build_network", options={"filters": 8}).options
    {'filters': 8}
    """

    architecture: Literal["custom"] = "custom"
    build: str = Field(
        description="module:function, from the working folder or the Python path; the function is called as "
        "function(input_channels, num_outputs, **options) and gives a Keras model"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of the function, by name")
    dimensions: Literal[2, 3] = Field(
        default=2, description="2: it takes slices (height, width); 3: volumes (depth, height, width)"
    )

    @property
    def size_multiples(self) -> tuple[int, ...]:
        """No size is known to need padding: a network of the user's own pads inside, or refuses."""
        return (1,) * self.dimensions

    @field_validator("build")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not is_own_name(value):
            raise ValueError(f"build must be module:function, like my_module:build_network; received {value!r:.60}")
        return value


class ImportedSettings(ArchitectureSettings):
    """A network that was made elsewhere: its layers are those in a file, and no settings describe them.

    It is trained further by starting from it, and cannot be built from nothing.
    """

    architecture: Literal["imported"] = "imported"
    file: str | None = Field(
        default=None,
        description="the .keras file of 'r2d2 zoo import' that holds its layers; transfer.start_from gives it",
    )


NetworkSettings = Annotated[
    UNetSettings
    | FCNSettings
    | ResNetUNetSettings
    | LivermaskUNetSettings
    | ResidualUNetSettings
    | C2FNASStyleSettings
    | CustomSettings
    | ImportedSettings,
    Field(discriminator="architecture"),
]
