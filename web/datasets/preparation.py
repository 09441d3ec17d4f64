"""The form of a preparation: settings of the configuration's own model, what was typed, the job that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from r2d2.config import Configuration, configure
from r2d2.engine import Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error
from r2d2.setting_fields import SettingField, fields_of, typed_text, value_text

from ..preview import Preview, command_line, yaml_text

__all__ = ["FIRST", "FormField", "PreparationForm", "faults_of", "preview_of"]

PREFIX = "preparation."
FIRST = (
    "kind",
    "slice_axis",
    "spacing_mm",
    "normalisation",
    "validation_fraction",
    "test_fraction",
    "folds",
    "patient_pattern",
    "on_error",
)
"""Settings that are asked for most; all others are found by a search."""

_OWN = ("recipe", "preset", "augment_to", "into", "folder", "name")
"""Fields of the form that are no settings."""
_ELSEWHERE = ("recipe", "augment_to", "splits")
"""Settings with a place of their own in the form, or that name a file, which a browser never does."""


@dataclass(frozen=True)
class FormField:
    """A setting in the form: what it is, what stands in it, what `prepare` would choose, and what is wrong with it."""

    setting: SettingField
    text: str
    proposal: str = ""
    faults: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it is called in the form that is sent."""
        return self.setting.key.removeprefix(PREFIX)

    @property
    def hint(self) -> str:
        """What stands below it."""
        bounds = f" ({self.setting.bounds})" if self.setting.bounds else ""
        meaning = self.setting.meaning.replace("null:", "empty:")
        return f"{meaning}{bounds}" + (f" From the headers: {self.proposal}." if self.proposal else "")

    @property
    def is_first(self) -> bool:
        """Whether it is shown without a search."""
        return self.name in FIRST or bool(self.faults) or self.is_changed

    @property
    def is_changed(self) -> bool:
        """Whether something else than the default stands in it."""
        return self.text != _default(self.setting)


@dataclass(frozen=True)
class PreparationForm:
    """What was typed.

    Attributes:
        recipe: layout of the source.
        preset: settings of a published use case; empty: none.
        augment_to: training slices with augmented copies; empty: as they are.
        into: number of the declared folder that the dataset goes into; empty: the job's own folder.
        folder: its name there.
        name: of the job.
        typed: texts of the settings, by name.
    """

    recipe: str = "auto"
    preset: str = ""
    augment_to: str = ""
    into: str = ""
    folder: str = ""
    name: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, sent: Mapping[str, str]) -> PreparationForm:
        """Read what a browser sent; settings are called ``s.NAME``."""
        given = {key: sent.get(key, "").strip() for key in ("preset", "augment_to", "into", "folder", "name")}
        typed = {key.removeprefix("s."): text.strip() for key, text in sent.items() if key.startswith("s.")}
        return cls(recipe=sent.get("recipe", "auto"), typed=typed, **given)

    def fields(self, proposals: Mapping[str, str], faults: Mapping[str, Sequence[str]]) -> list[FormField]:
        """Give all settings with what stands in them.

        Args:
            proposals: what `prepare` would choose, and why, by name.
            faults: by key.
        """
        found = [
            FormField(
                setting,
                self.typed.get(setting.key.removeprefix(PREFIX), _default(setting)),
                proposals.get(setting.key.removeprefix(PREFIX), ""),
                tuple(faults.get(setting.key, ())),
            )
            for setting in _settings()
        ]
        order = {name: place for place, name in enumerate(FIRST)}
        return sorted(found, key=lambda one: order.get(one.name, len(FIRST)))

    def words(self) -> tuple[str, ...]:
        """Give the settings that differ from their defaults, as ``key=value``."""
        changed = [one for one in self.fields({}, {}) if one.is_changed]
        return tuple(f"{one.setting.key}={typed_text(one.setting, one.text)}" for one in changed)

    def submission(self, source: Path, out: Path | None) -> Submission:
        """Give the job.

        Args:
            source: what is prepared.
            out: where; None: in the job's folder.

        Raises:
            R2D2Error: faults of the settings.
        """
        configure({}, assignments=self.words())
        settings: dict[str, Any] = {"source": str(source), "settings": list(self.words())}
        if self.recipe != "auto":
            settings["recipe"] = self.recipe
        if self.preset:
            settings["preset"] = self.preset
        if self.augment_to:
            settings["augment_to"] = self.augment_to
        if out is not None:
            settings["out"] = str(out)
        name = self.name or f"prepare {source.name}"[:120]
        found: Submission = validated(Submission, {"task": "prepare", "settings": settings, "name": name}, "job")
        return found

    def command(self, source: Path, out: Path | None) -> str:
        """Write what would be typed for the same; a word in capitals is a folder.

        >>> PreparationForm(preset="some", typed={"folds": "3"}).command(Path("scans"), None)
        'r2d2 prepare scans --out DATASET --preset some preparation.folds=3'
        """
        named = {"recipe": self.recipe.replace("auto", ""), "preset": self.preset, "augment-to": self.augment_to}
        options = [word for name, text in named.items() if text for word in (f"--{name}", text)]
        return command_line("prepare", str(source), "--out", str(out or "DATASET"), *options, *self.words())

    def yaml(self) -> str:
        """Write what differs from the defaults as r2d2.yaml; a preset is given on the command line alone."""
        own = {"recipe": self.recipe.replace("auto", ""), "augment_to": self.augment_to}
        return yaml_text([*(f"{PREFIX}{name}={text}" for name, text in own.items() if text), *self.words()])

    def folder_in(self, root: Path) -> Path:
        """Give the folder that the dataset goes into.

        Raises:
            RefusedError: none is named, or one that leads out of the declared folder.
        """
        parts = PurePosixPath(self.folder).parts
        if not parts or any(part in ("..", "/") or part.startswith(".") for part in parts):
            fault = "name a folder, without dots at the beginning"
            raise RefusedError(f"folder: {fault}", [("folder", fault)])
        return root.joinpath(*parts)


def preview_of(
    form: PreparationForm, source: Path, out: Path | None, faults: Mapping[str, list[str]], warnings: tuple[str, ...]
) -> Preview:
    """Give what the page shows below the form.

    Args:
        form: what was typed.
        source: what is prepared.
        out: where; None: in the job's folder, or a folder that cannot be.
        faults: by key.
        warnings: what may surprise.
    """
    fields = form.fields({}, {})
    shown = {*_OWN, *(one.setting.key for one in fields)}
    general = [
        f"{key}: {sentence}" if key else sentence
        for key, found in faults.items()
        if key not in shown
        for sentence in found
    ]
    return Preview(
        {key: found for key, found in faults.items() if key in shown},
        general,
        warnings,
        [one.setting.key for one in fields if one.is_changed],
        form.command(source, out),
        form.yaml(),
    )


def faults_of(error: R2D2Error) -> dict[str, list[str]]:
    """Give the faults that an error tells, by their keys; what is about no single setting has the key ""."""
    by_key: dict[str, list[str]] = {}
    for key, sentence in getattr(error, "faults", ()) or [("", str(error))]:
        place = "" if key == "settings" else _shown_key(key)
        by_key.setdefault(place, []).append(sentence.removeprefix(f"{key}: "))
    return by_key


def _shown_key(key: str) -> str:
    """Give where a fault is shown: one within a setting at the setting, others by the last word of their key."""
    if key.startswith(PREFIX):
        return PREFIX + key.removeprefix(PREFIX).partition(".")[0]
    return key.rpartition(".")[2]


def _settings() -> Iterator[SettingField]:
    model = type(Configuration().preparation)
    return (one for one in fields_of(model, PREFIX) if one.key.removeprefix(PREFIX) not in _ELSEWHERE)


def _default(setting: SettingField) -> str:
    return "" if setting.default is None else value_text(setting.default)
