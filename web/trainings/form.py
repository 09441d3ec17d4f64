"""The form of a new training: which settings it shows, what was typed into them, and what differs from the proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from r2d2.config import WEIGHT_FILES
from r2d2.setting_fields import SettingField, architectures, setting_fields, typed_text, value_text

from ..followers import STEPS
from ..preview import command_line

if TYPE_CHECKING:
    from r2d2.tasks.basis import Basis

__all__ = ["ARCHITECTURE", "FIRST", "FormField", "TrainingForm", "command_lines", "fields_shown"]

ARCHITECTURE = "network.architecture"
FIRST = (
    ARCHITECTURE,
    "training.epochs",
    "training.batch_size_per_worker",
    "training.learning_rate",
    "training.early_stopping_patience",
    "training.max_minutes",
)
"""Settings that matter first, beside dataset, start and workers; all others are found by a search."""

_ELSEWHERE = ("schema_version", "dataset", "run_dir", "hosts", "workers", "transfer.start_from", "transfer.start_name")
"""Settings with a place of their own in the form, or that jobs of an engine do not have."""
_NEEDS_A_FILE, _NEEDS_CODE = "imported", "custom"


@dataclass(frozen=True)
class FormField:
    """A setting in the form.

    Attributes:
        setting: what it is.
        text: what stands in it.
        basis: what stands in it where nobody changes it.
        reason: why that is so; empty: it is the same for all datasets.
        faults: what is wrong with it.
    """

    setting: SettingField
    text: str
    basis: str
    reason: str = ""
    faults: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether it differs from the basis."""
        return self.text != self.basis


@dataclass(frozen=True)
class TrainingForm:
    """What was chosen and typed.

    Attributes:
        dataset: word of the dataset.
        start: word of the network to start from; empty: random weights.
        task: "train" or "cross-validate".
        workers: as typed.
        name: of the job.
        tags: as typed.
        then: what follows it, of `STEPS`.
        typed: texts of the settings by key.
    """

    dataset: str = ""
    start: str = ""
    task: str = "train"
    workers: str = "1"
    name: str = ""
    tags: str = ""
    then: tuple[str, ...] = ()
    typed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, sent: Mapping[str, str]) -> TrainingForm:
        """Read what a browser sent; settings are called ``s.KEY``."""
        return cls(
            dataset=sent.get("dataset", ""),
            start=sent.get("start", ""),
            task="cross-validate" if sent.get("task") == "cross-validate" else "train",
            workers=sent.get("workers", "1").strip() or "1",
            name=sent.get("name", "").strip(),
            tags=sent.get("tags", ""),
            then=_steps(sent),
            typed={key.removeprefix("s."): text.strip() for key, text in sent.items() if key.startswith("s.")},
        )

    def with_values(self, values: Mapping[str, Any]) -> TrainingForm:
        """Give the form with values, as JSON has them, in the place of what was typed."""
        typed = {key: _shown(value) for key, value in values.items()}
        return replace(self, typed={**self.typed, **typed})

    def of_dataset(self, word: str) -> TrainingForm:
        """Give the form for a dataset."""
        return replace(self, dataset=word)

    def of_run(
        self, dataset: str, start: str, workers: str, task: str, name: str, tags: tuple[str, ...]
    ) -> TrainingForm:
        """Give the form for another training like one that there was."""
        return replace(
            self,
            dataset=dataset,
            start=self.start or start,
            workers=workers,
            task=task,
            name=name,
            tags=" ".join(tags),
        )

    def architecture(self, basis: Basis) -> str:
        """Give the network whose settings are shown."""
        name = self.typed.get(ARCHITECTURE) or str(basis.values.get(ARCHITECTURE, "unet"))
        return name if name in architectures() else "unet"

    def fields(self, basis: Basis, *, may_run_code: bool, faults: Mapping[str, list[str]]) -> list[FormField]:
        """Give all settings with what stands in them.

        Args:
            basis: what is below them.
            may_run_code: whether networks of one's own may be named.
            faults: by key.
        """
        architecture, found = self.architecture(basis), list[FormField]()
        for setting in fields_shown(architecture, may_run_code=may_run_code):
            below = _below(setting, basis, architecture)
            text = self.typed.get(setting.key, below)
            reason = basis.reasons.get(setting.key, "")
            found.append(FormField(setting, text, below, reason, tuple(faults.get(setting.key, ()))))
        return found

    def words(self, basis: Basis, *, may_run_code: bool) -> tuple[str, ...]:
        """Give the settings that differ from the basis, as ``key=value``."""
        fields = self.fields(basis, may_run_code=may_run_code, faults={})
        return tuple(f"{one.setting.key}={typed_text(one.setting, one.text)}" for one in fields if one.is_changed)


def _steps(sent: Mapping[str, str]) -> tuple[str, ...]:
    """Give what is to follow; what a later step uses is made by those before it."""
    asked = [at for at, step in enumerate(STEPS, 1) if sent.get(f"then_{step}") == "yes"]
    return STEPS[: max(asked, default=0)]


@cache
def fields_shown(architecture: str, *, may_run_code: bool) -> tuple[SettingField, ...]:
    """Give the settings that a form has for a network, those that matter first before all others."""
    shown = {
        setting.key: _without_files(setting)
        for setting in setting_fields(architecture)
        if setting.section != "preparation" and setting.key not in (*_ELSEWHERE, "network.file")
    }
    hidden = (_NEEDS_A_FILE,) if may_run_code else (_NEEDS_A_FILE, _NEEDS_CODE)
    choice = shown[ARCHITECTURE]
    shown[ARCHITECTURE] = replace(choice, choices=tuple(name for name in choice.choices if name not in hidden))
    return (*(shown.pop(key) for key in FIRST), *shown.values())


def _without_files(setting: SettingField) -> SettingField:
    """Of files of weights a browser names none: ImageNet's are had by a word."""
    if setting.key.rpartition(".")[2] not in WEIGHT_FILES:
        return setting
    return replace(setting, kind="choice", choices=("imagenet",))


def _below(setting: SettingField, basis: Basis, architecture: str) -> str:
    """Give the text that stands for what counts where nothing is typed."""
    if not basis.is_known:
        return ""
    is_other = setting.section == "network" and basis.values.get(ARCHITECTURE) != architecture
    if is_other and setting.key != ARCHITECTURE:  # another network has settings of its own
        return _shown(setting.default)
    return _shown(basis.values.get(setting.key, setting.default))


def _shown(value: Any) -> str:
    return "" if value is None else value_text(value)


def command_lines(
    task: str, dataset: str | None, workers: int, words: tuple[str, ...], then: tuple[str, ...] = ()
) -> str:
    """Write what would be typed for the same training and what follows it; words in capitals are folders.

    >>> command_lines("train", "work/liver", 2, ("training.epochs=3",))
    'r2d2 train --dataset work/liver --workers 2 training.epochs=3'
    >>> print(command_lines("train", "work/liver", 1, (), ("predict", "evaluate")))
    r2d2 train --dataset work/liver --run-dir RUN --workers 1
    r2d2 predict --model RUN --dataset work/liver --out PREDICTION
    r2d2 evaluate --prediction PREDICTION --dataset work/liver --out EVALUATION
    """
    named = [] if dataset is None else ["--dataset", dataset]
    folds = ["--fold", "all"] if task == "cross-validate" else []
    run = ["--run-dir", "RUN"] if then else []
    of_dataset = ["--dataset", dataset or "DATASET"]
    lines = {
        "train": ["train", *named, *run, *folds, "--workers", str(workers), *words],
        "predict": ["predict", "--model", "RUN", *of_dataset, "--out", "PREDICTION"],
        "evaluate": ["evaluate", "--prediction", "PREDICTION", *of_dataset, "--out", "EVALUATION"],
    }
    return "\n".join(command_line(*lines[step]) for step in ("train", *then))
