"""card.json: what a published model is, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dist_training.inference.model_card import Split
from r2d2.errors import ZooError
from r2d2_base.files import read_json
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "CARD",
    "DataOfModel",
    "FurtherNetwork",
    "Mean",
    "ModelDescription",
    "ScoresOfModel",
    "TrainingOfModel",
    "VolumeRange",
    "WorstCase",
    "read_description",
]

CARD = "card.json"
_SCHEMA_VERSION = 1
_LARGEST = 1 << 24


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataOfModel(_Part):
    """The data that a model learned from.

    Attributes:
        name: as the data are known.
        licence: under which they were used.
        source: where they are from.
        population: whose scans they are; None where that is unknown.
        scanners: which machines made them; likewise.
        cases: how many each split has.
        patients: likewise; None where only the cases are known.
        seen_before: how many cases the networks had learned from, or been chosen by, that this one started from.
    """

    name: str
    licence: str
    source: str
    population: str | None = None
    scanners: str | None = None
    cases: dict[Split, int]
    patients: dict[Split, int] | None = None
    seen_before: int = 0


class Mean(_Part):
    """A mean over cases with its 95 % interval over patients.

    Attributes:
        value: None: there is none, or it is infinite.
        low, high: ends of the interval; None: there is none, as with a single patient.
        n: values in it.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


class VolumeRange(_Part):
    """How large a structure is in the references of the evaluation, in millilitres.

    Attributes:
        low, median, high: 5th, 50th and 95th percentile, over the cases that have it.
        n: cases that have it.
        absent: cases that do not.
    """

    low: float
    median: float
    high: float
    n: int
    absent: int


class WorstCase(_Part):
    """The scores of a case that went badly; nothing tells which.

    Attributes:
        rank: "Worst", "Second worst" ...
        scores: {label: {metric: score}}; None where it has none.
        remarks: {label: "missed"} and the like, where a structure is on one side only.
    """

    rank: str
    scores: dict[str, dict[str, float | None]]
    remarks: dict[str, str] = {}


class ScoresOfModel(_Part):
    """What an evaluation on scans that the network never learned from says.

    Attributes:
        split: "test" for the cases that were kept for it, "other" for scans from elsewhere, "test and other".
        cases: how many.
        patients: how many.
        metrics: {metric: {label: mean}}.
        overall: {metric: mean over the labels}.
        volumes_ml: {label: range}; none of pictures.
        worst: the worst cases.
        inference: how the network was applied, where that is not the usual way: words.
        model_sha256: of the network that was evaluated: before its weights were rounded, if they were.
        conventions: {choice: what it was}: how the numbers were made.
    """

    split: Literal["test", "other", "test and other"]
    cases: int
    patients: int
    metrics: dict[str, dict[str, Mean]]
    overall: dict[str, Mean]
    volumes_ml: dict[str, VolumeRange] = {}
    worst: tuple[WorstCase, ...] = ()
    inference: str | None = None
    model_sha256: str
    conventions: dict[str, str] = {}


class TrainingOfModel(_Part):
    """How the network was trained.

    Attributes:
        state: how far the run was; "completed" for one that ended as planned.
        epochs: that were trained.
        minutes: of training and validation; None where that is not recorded.
        workers: processes that trained together; likewise.
        cores: of the host, and threads of each worker, in words; likewise.
        platform: operating system and processor; likewise.
    """

    state: str
    epochs: int
    minutes: float | None = None
    workers: int | None = None
    cores: str | None = None
    platform: str | None = None


class FurtherNetwork(_Part):
    """One of several networks of a model that are asked together, besides the first.

    Attributes:
        weights_sha256: of its model.keras, in members/2, members/3 ...
        slice_axis: axis across which its slices are cut.
        network: its settings, as in model.json; None: a card of an earlier version.
        epoch: 1-based epoch of its weights.
        validation_dice: their mean foreground Dice on the validation cases.
        expected_rate: of scans like those of its training that it tells as unlike; None: none, or as one before it.
        parent, parent_sha256, training: as of the first, see `ModelDescription`.
    """

    weights_sha256: str
    slice_axis: int
    network: dict[str, Any] | None = None
    epoch: int
    validation_dice: float | None = None
    expected_rate: float | None = None
    parent: str | None = None
    parent_sha256: str | None = None
    training: TrainingOfModel | None = None


class ModelDescription(_Part):
    """Content of card.json: with model.json all that the page of a model is made from.

    Attributes:
        name: in the zoo, with its version, such as "hippocampus-unet:1"; None: not said when it was published.
        title: in a few words.
        intended_use: what it is for.
        not_for: what it is not for.
        data: what it learned from.
        licence: of the weights, an SPDX expression.
        attribution: who must be named by whoever uses or passes on the weights.
        author: who made it and answers for it.
        contact: how to reach them.
        published: the day, "2026-12-01".
        known_failures: where it fails, in the author's words.
        remarks: anything else.
        scores: of an evaluation; None: there was none.
        parent: the network that its training started from: NAME:VERSION of the zoo, or in words; None: from nothing.
        parent_sha256: of that one's model.keras; None where there is none, or nothing is known of it.
        training: None: it was trained elsewhere.
        weights_sha256: of model.keras.
        further: the other networks, where several are asked together.
    """

    schema_version: Literal[1] = 1
    name: str | None = None
    title: str
    intended_use: str
    not_for: str
    data: DataOfModel
    licence: str
    attribution: str
    author: str
    contact: str | None = None
    published: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    known_failures: str
    remarks: str | None = None
    scores: ScoresOfModel | None = None
    parent: str | None = None
    parent_sha256: str | None = None
    training: TrainingOfModel | None = None
    weights_sha256: str
    further: tuple[FurtherNetwork, ...] = ()


def read_description(folder: Path) -> ModelDescription:
    """Read card.json of a published model.

    Args:
        folder: of the model.

    Raises:
        ZooError: it is missing, damaged, or of a newer R2D2.
    """
    path = folder / CARD
    try:
        if path.stat().st_size > _LARGEST:
            raise ZooError(f"{path} is no model's description: it has more than {_LARGEST >> 20} MB")
        content = read_json(path)
    except FileNotFoundError:
        raise ZooError(f"{folder} is no published model: it has no {CARD}; 'r2d2 zoo publish' makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ZooError):
            raise
        raise ZooError(f"{path} cannot be read ({type(error).__name__}); fetch the model again") from error
    version = content.get("schema_version") if isinstance(content, Mapping) else None
    if isinstance(version, int) and version > _SCHEMA_VERSION:
        raise ZooError(
            f"{path} was made by a newer R2D2 (schema_version {version}, this one reads {_SCHEMA_VERSION}): "
            "update R2D2 to use this model"
        )
    return _validated(path, content)


def _validated(path: Path, content: Any) -> ModelDescription:
    try:
        return ModelDescription.model_validate(content)
    except ValidationError as error:
        reason = settings_faults(error, ModelDescription)[0]
        raise ZooError(f"{path} is no model's description that this R2D2 reads: {reason}") from error
