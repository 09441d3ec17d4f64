"""model.json: what someone needs to use, check and trace a trained network."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.architectures import ImportedSettings, NetworkSettings
from dist_training.errors import ModelError
from dist_training.inference.familiarity import Familiarity, familiarity_of
from dist_training.inference.outputs import NetworkOutputs, outputs_of
from dist_training.inference.postprocessing import Rule, check_rules
from dist_training.record.environment import versions
from dist_training.record.run_folder import RunFolder
from imgmed import AugmentationSettings, Normalisation, PreparedDataset, ScanPreparation
from imgmed.label_codes import LabelCode
from r2d2_base.files import remove_leftovers_of, sha256_of, write_json, written_beside
from r2d2_base.settings_faults import settings_faults

__all__ = [
    "ModelCard",
    "Split",
    "UsedCase",
    "ViewSettings",
    "keep_start_card",
    "read_kept_start",
    "read_model_card",
    "read_seen_before",
    "read_start_card",
    "salted",
    "save_model",
    "write_postprocessing",
]

Split = Literal["train", "validation", "test"]
ScanKind = Literal["picture", "volume"]
_BY_WEIGHT: tuple[Split, ...] = ("test", "validation", "train")
_SCHEMA_VERSION = 1
_LARGEST_CARD = 1 << 26


class UsedCase(BaseModel):
    """A case that the run used, told by the content of its image files.

    Attributes:
        case_id: its name; in a published model a number, "case 1".
        split: what the run used it for.
        image_sha256: SHA-256 of each of its image files; with a salt, what ``salted`` makes of it.
        hash_salt: of a case of a published model, that model's: who has the scan can tell that it was used, and nobody
            can tell from two models that they used the same scan; empty: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str
    split: Split
    image_sha256: tuple[str, ...]
    hash_salt: str = ""


def salted(image_sha256: Sequence[str], hash_salt: str) -> tuple[str, ...]:
    """Give what a published card has in place of the SHA-256 of scans (HMAC, RFC 2104, with SHA-256).

    Args:
        image_sha256: of each file of a scan.
        hash_salt: the model's; empty: they stay as they are.

    >>> salted(["ab" * 32], "") == ("ab" * 32,), salted(["ab" * 32], "01") == salted(["ab" * 32], "02")
    (True, False)
    """
    if not hash_salt:
        return tuple(image_sha256)
    key = hash_salt.encode()
    return tuple(hmac.new(key, digest.encode(), hashlib.sha256).hexdigest() for digest in image_sha256)


class ViewSettings(BaseModel):
    """How slices are seen besides as they are, where nobody asks for anything else (test-time augmentation).

    Attributes:
        flips: mirrored, along the axes that training mirrored.
        rotations_degrees: turned by each of these angles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flips: bool = False
    rotations_degrees: tuple[float, ...] = ()


class ModelCard(BaseModel):
    """The card of a trained network.

    Attributes:
        network: architecture and its settings.
        channels: names of the input channels.
        num_outputs: 1 (a sigmoid logit), the number of classes (softmax logits), or of regions (a sigmoid logit each).
        labels: name to label value, background included.
        class_values: label value of each class index.
        regions: where each output is a region's, {name: label values} in the order of the outputs; else empty.
        scan_preparation: how a scan becomes slices.
        normalisation: how the slices' intensities are normalised.
        augmentation: how the training slices were varied; a card from before this was recorded has none.
        patch_size: (slices, rows, columns) of the patches that a network of volumes learned from, and of the windows by
            which it predicts; None: it takes slices.
        postprocessing: rules that label maps are set right by.
        views: how its slices are seen; of a published model, as it was measured.
        scan_kinds: whether training scans were pictures, whose size in millimetres nobody knows, or volumes; a card
            from before this was recorded has none.
        familiarity: what the training scans have in common, by which others are told as unlike; None: they were too
            few to say, or the card is from before.
        label_codes: {label: code} of labels whose names do not tell what they are, for DICOM.
        series: regular expression that chose among a patient's DICOM series; None: nothing was to be chosen.
        validation_dice: mean foreground Dice of these weights on the validation cases.
        epoch: 1-based epoch of these weights.
        dataset: name of the prepared dataset.
        cases: the cases of all splits.
        seen_before: those that the network it started from was trained or validated with, and that one's, and so on;
            a card from before this was recorded has none.
        versions: versions of the software.
        weights_precision: what the weights are stored in; they are float32 again when they are read.
        model_sha256: SHA-256 of model.keras.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    network: NetworkSettings
    channels: tuple[str, ...]
    num_outputs: int
    labels: dict[str, int]
    class_values: tuple[int, ...]
    regions: dict[str, tuple[int, ...]] = {}
    scan_preparation: ScanPreparation
    normalisation: Normalisation
    augmentation: AugmentationSettings = AugmentationSettings()
    patch_size: tuple[int, int, int] | None = None
    postprocessing: tuple[Rule, ...] = ()
    views: ViewSettings = ViewSettings()
    scan_kinds: tuple[ScanKind, ...] = ()
    familiarity: Familiarity | None = None
    label_codes: dict[str, LabelCode] = {}
    series: str | None = None
    validation_dice: float | None
    validation_dice_per_label: dict[str, float | None]
    epoch: int
    dataset: str
    cases: tuple[UsedCase, ...]
    seen_before: tuple[UsedCase, ...] = ()
    versions: dict[str, str]
    weights_precision: Literal["float16", "float32", "float64"] = "float32"
    model_sha256: str

    @property
    def outputs(self) -> NetworkOutputs:
        """What the channels of the logits mean."""
        return outputs_of(self.labels, self.regions, has_regions=bool(self.regions))

    @property
    def trained_flips(self) -> tuple[bool, ...]:
        """Whether training mirrored slices top to bottom, and left to right; of volumes first to last slice before."""
        varied = self.augmentation
        in_plane = varied.vertical_flip_probability > 0, varied.horizontal_flip_probability > 0
        return in_plane if self.patch_size is None else (varied.slice_flip_probability > 0, *in_plane)

    def split_of(self, image_sha256: Sequence[str]) -> Split | None:
        """Tell what training, or that of the networks it started from, used a scan for, by its content.

        A scan is known by all files of a case, or by some of them, such as the one channel that is given; of several
        cases the one counts that weighs most.

        Args:
            image_sha256: SHA-256 of each of its files.

        Returns:
            None: it was not used.
        """
        given = {salt: set(salted(image_sha256, salt)) for salt in self._salts}
        matches = [case for case in self.used_cases.values() if _is_part(given[case.hash_salt], set(case.image_sha256))]
        return max((case.split for case in matches), key=_BY_WEIGHT.index, default=None)

    def trained_on(self, scans: Iterable[Sequence[str]]) -> int:
        """Count the scans that training, or that of the networks it started from, used, each told by all its files.

        Args:
            scans: SHA-256 of each file of each scan.
        """
        known = {case.image_sha256 for case in self.used_cases.values() if case.split == "train"}
        return sum(any(salted(scan, salt) in known for salt in self._salts) for scan in scans)

    @cached_property
    def _salts(self) -> frozenset[str]:
        return frozenset(case.hash_salt for case in (*self.cases, *self.seen_before))

    @property
    def used_cases(self) -> dict[tuple[str, ...], UsedCase]:
        """All cases by their images: one that served several times as what weighs most, training before validation."""
        cases = sorted((*self.cases, *self.seen_before), key=lambda case: _BY_WEIGHT.index(case.split))
        return {case.image_sha256: case for case in cases}


def _is_part(some: set[str], others: set[str]) -> bool:
    return bool(some & others) and (some <= others or others <= some)


def save_model(
    model: Any,
    folder: RunFolder,
    *,
    network: NetworkSettings,
    dataset: PreparedDataset,
    epoch: int,
    validation_dice: float | None,
    validation_dice_per_label: dict[str, float | None],
    outputs: NetworkOutputs | None = None,
    augmentation: AugmentationSettings | None = None,
    patch_size: tuple[int, int, int] | None = None,
    seen_before: tuple[UsedCase, ...] = (),
) -> None:
    """Write model.keras and its card; the card comes last, so it never speaks of a file that is not there.

    Args:
        model: the Keras network.
        folder: the run folder.
        network: its architecture.
        dataset: what it was trained on.
        epoch: 1-based epoch of these weights.
        validation_dice: their score; None where there is none.
        validation_dice_per_label: the same for each foreground label, or region where outputs are regions.
        outputs: what the channels of its logits mean; None: classes.
        augmentation: how its training slices were varied; None: not at all.
        patch_size: (slices, rows, columns) that a network of volumes learned from; None: it is of slices.
        seen_before: see ``read_seen_before``.
    """
    for path in (folder.model, folder.card):
        remove_leftovers_of(path)
    with written_beside(folder.model, folder.card, is_durable=True) as (network_file, card_file):
        model.save(network_file)
        card = ModelCard(
            # where an imported network began is a path of this machine, and of no use: its layers are in model.keras
            network=ImportedSettings() if isinstance(network, ImportedSettings) else network,
            channels=dataset.channels,
            num_outputs=model.output_shape[-1],
            labels=dataset.labels,
            class_values=dataset.class_values,
            regions={} if outputs is None else outputs.region_values(dataset.class_values),
            scan_preparation=dataset.scan_preparation,
            normalisation=dataset.normalisation(dataset.splits.train),
            augmentation=augmentation or AugmentationSettings(),
            patch_size=patch_size,
            scan_kinds=_scan_kinds(dataset),
            familiarity=familiarity_of(dataset),
            label_codes=dataset.description.settings.label_codes,
            series=dataset.description.settings.series,
            validation_dice=validation_dice,
            validation_dice_per_label=validation_dice_per_label,
            epoch=epoch,
            dataset=dataset.name,
            cases=_used_cases(dataset),
            seen_before=seen_before,
            versions=versions(),
            model_sha256=sha256_of(network_file),
        )
        write_json(card_file, card.model_dump(mode="json"))


def _scan_kinds(dataset: PreparedDataset) -> tuple[ScanKind, ...]:
    are_pictures = {dataset.case(case_id).is_picture for case_id in dataset.splits.train}
    kinds: dict[bool, ScanKind] = {True: "picture", False: "volume"}
    return tuple(kind for is_picture, kind in kinds.items() if is_picture in are_pictures)


def _used_cases(dataset: PreparedDataset) -> tuple[UsedCase, ...]:
    splits = dataset.splits
    used: dict[Split, tuple[str, ...]] = {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
    }
    return tuple(
        UsedCase(case_id=case_id, split=split, image_sha256=dataset.cases[case_id].image_sha256)
        for split, case_ids in used.items()
        for case_id in case_ids
    )


def read_model_card(model: Path) -> tuple[Path, ModelCard]:
    """Read the card of a run folder, or of the folder or path of a model.keras, and check it against the network.

    Args:
        model: a run folder, or a .keras file with its card of the same name (.json) beside it.

    Returns:
        The path of the network file, and its card.

    Raises:
        ModelError: where either file is missing, damaged or does not belong to the other.
    """
    network = model if model.suffix == ".keras" else model / "model.keras"
    path = network.with_suffix(".json")
    if not model.exists():
        raise ModelError(f"no such model: {model}; give a run folder of 'r2d2 train'")
    for file in (network, path):
        if not file.exists():
            raise ModelError(
                f"{network.parent} holds no trained network ({file.name} is missing); train one with 'r2d2 train'"
            )
    card = _read_card(path)
    if sha256_of(network) != card.model_sha256:
        raise ModelError(
            f"{network} is not the file that {path.name} describes (SHA-256 differs); "
            "copy both again, or resume the run that was writing them"
        )
    return network, card


def write_postprocessing(network: Path, rules: Sequence[Rule]) -> Path:
    """Put rules in the place of those of a model's card; the network stays as it is.

    Args:
        network: model.keras, whose card lies beside it.
        rules: in their order.

    Returns:
        The card's path.

    Raises:
        ModelError: the card is missing, damaged or of another network.
        ConfigurationError: a rule is about a label that the model does not have.
    """
    network, card = read_model_card(network)
    check_rules(rules, card.labels)
    path = network.with_suffix(".json")
    changed = card.model_copy(update={"postprocessing": tuple(rules)})
    write_json(path, changed.model_dump(mode="json"), is_durable=True)
    return path


def read_start_card(start: Path) -> ModelCard | None:
    """Read the card of a network to start from; None for a .keras file without one, which has weights only.

    Args:
        start: a run folder, or a .keras file.

    Raises:
        ModelError: there is no such network, or its card does not belong to it.
    """
    if start.suffix == ".keras" and start.is_file() and not start.with_suffix(".json").exists():
        return None
    return read_model_card(start)[1]


def keep_start_card(folder: RunFolder, card: ModelCard | None) -> None:
    """Keep the card of the network that a run starts from: that network's folder may be gone when the run goes on.

    Args:
        folder: the run folder.
        card: None: it starts from none, or from one without a card.
    """
    if card is None:
        folder.start.unlink(missing_ok=True)
        return
    write_json(folder.start, card.model_dump(mode="json"), is_durable=True)


def read_kept_start(folder: RunFolder) -> ModelCard | None:
    """Read the card that ``keep_start_card`` wrote; None: the run started from no network, or from one without a card.

    Args:
        folder: the run folder.

    Raises:
        ModelError: it is damaged.
    """
    return _read_card(folder.start) if folder.start.exists() else None


def read_seen_before(folder: RunFolder) -> tuple[UsedCase, ...]:
    """List the cases that the network which a run started from was trained or validated with, and its ancestors.

    Args:
        folder: the run folder.

    Raises:
        ModelError: the card that ``keep_start_card`` wrote is damaged.
    """
    start = read_kept_start(folder)
    return () if start is None else tuple(case for case in start.used_cases.values() if case.split != "test")


def _read_card(path: Path) -> ModelCard:
    if path.stat().st_size > _LARGEST_CARD:
        raise ModelError(f"{path} is no model card: it has more than {_LARGEST_CARD >> 20} MB")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > _SCHEMA_VERSION:
            raise ModelError(
                f"{path} was made by a newer R2D2 (schema_version {version}, this one reads {_SCHEMA_VERSION}): "
                "update R2D2 to use this model"
            )
        return ModelCard.model_validate_json(text)
    except ModelError:
        raise
    except RecursionError as error:
        raise ModelError(f"{path} is no model card: it is nested without end") from error
    except (ValidationError, ValueError) as error:
        reason = settings_faults(error, ModelCard)[0] if isinstance(error, ValidationError) else str(error)
        raise ModelError(f"{path} is no model card that this R2D2 reads: {reason}") from error
