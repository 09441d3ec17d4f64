"""What only the author of a model can say about it: a YAML file, its template, and what is missing in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dist_training.inference.model_card import read_model_card
from r2d2.errors import ZooError
from r2d2_base.settings_faults import settings_faults

__all__ = ["AuthorWords", "DataWords", "description_template", "read_author_words"]

LONGEST_LINE = 200


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class DataWords(_Words):
    """What the author says about the data; see `DataOfModel`."""

    name: str = Field(description="The data's public name, such as 'Medical Segmentation Decathlon, Task04'.")
    licence: str = Field(description="Under which licence or agreement they were used, such as CC-BY-SA-4.0.")
    source: str = Field(description="Where they are from: an address, an article, or the hospital if it may be named.")
    population: str | None = Field(
        default=None, description="Whose scans: adults or children, healthy or ill, years, regions ..."
    )
    scanners: str | None = Field(default=None, description="Machines and sequences or protocols, if known.")


class AuthorWords(_Words):
    """What the author of a model says: fields without a default are required."""

    title: str = Field(description="The model in a few words, such as 'Hippocampus in T1-weighted MRI'.")
    intended_use: str = Field(description="What it is for: which scans, of whom, for which question.")
    not_for: str = Field(description="What it is not for: scans, patients or decisions it was never tried on.")
    known_failures: str = Field(description="Where it fails, and how one sees that; 'none known' if so.")
    author: str = Field(description="Who made it and answers for it.")
    licence: str = Field(
        description="Of the weights: an SPDX expression, such as MIT or CC-BY-SA-4.0. Data may bind it."
    )
    attribution: str = Field(description="Who must be named by whoever uses or passes on the weights.")
    data: DataWords = Field(description="The data that it learned from. Numbers of cases are filled in.")
    contact: str | None = Field(default=None, description="How to reach the author.")
    remarks: str | None = Field(default=None, description="Anything else that a user should know.")
    licence_file: Path | None = Field(
        default=None, description="Text of the licence, beside this file; it becomes part of LICENSE."
    )
    allowed_words: tuple[str, ...] = Field(
        default=(),
        description="Names of files and folders of the source that name nobody, and may stand in the card.",
    )

    @field_validator("title", "author")
    @classmethod
    def _is_a_line(cls, text: str) -> str:
        line = " ".join(text.split())
        if len(line) > LONGEST_LINE:
            raise ValueError(f"must have at most {LONGEST_LINE} letters; received {len(line)}")
        return line

    @field_validator("licence")
    @classmethod
    def _is_spdx(cls, licence: str) -> str:
        try:
            return str(canonicalize_license_expression(licence))
        except InvalidLicenseExpression:
            raise ValueError(
                f"must be an SPDX expression, such as MIT, CC-BY-SA-4.0, 'MIT AND CC-BY-4.0' or LicenseRef-our-own; "
                f"received {licence!r:.60}"
            ) from None


def description_template(run: Path) -> str:
    """Give the file that the author of a model fills in: YAML, over each field what belongs there.

    What the program knows is no part of it: cases, scores, volumes, training, parent, checksum.

    Args:
        run: the run folder, or another one that holds model.keras and model.json.

    Raises:
        ModelError: there is no network in `run`, or a damaged one.
    """
    _, card = read_model_card(run)
    structures = ", ".join(card.regions or [name for name, value in card.labels.items() if value])
    lines = [
        f"# The description of a model that finds {structures} in {', '.join(card.channels)}, for people.",
        "# Fill in every field without a default; 'r2d2 zoo publish' lists those that are missing. Name no patient.",
        *_template(AuthorWords),
    ]
    return "\n".join(lines) + "\n"


def _template(model: type[BaseModel], indent: str = "") -> list[str]:
    lines = []
    for name, field in model.model_fields.items():
        lines += ["", f"{indent}# {field.description}"] if not indent else [f"{indent}# {field.description}"]
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += [f"{indent}{name}:", *_template(field.annotation, f"{indent}  ")]
        elif field.is_required():
            lines.append(f"{indent}{name}:")
        else:
            lines.append(f"{indent}{name}: {'[]' if field.default == () else 'null'}")
    return lines


def read_author_words(path: Path) -> AuthorWords:
    """Read the author's file.

    Args:
        path: a YAML file as `description_template` gives it, filled in.

    Raises:
        ZooError: it cannot be read, or is incomplete: one line that lists all that is missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ZooError(
            f"{path} cannot be read ({(error.strerror or 'unknown fault').lower()}); 'r2d2 zoo describe' writes one"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} is not YAML: {' '.join(str(error).split()):.200}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} must hold keys with values, like 'title: Hippocampus in MRI'")
    missing = _missing(AuthorWords, content)
    faults = [f"{', '.join(missing)} must be filled in"] if missing else []
    try:
        words = AuthorWords.model_validate(_filled(content))
    except ValidationError as error:
        faults += [fault for fault in settings_faults(error, AuthorWords) if not fault.endswith("must be given")]
    if faults:
        raise ZooError(f"{path}: {'; '.join(faults)}")
    licence_file = words.licence_file and path.parent / words.licence_file
    if licence_file and not licence_file.is_file():
        raise ZooError(f"{path}: licence_file: there is no {licence_file}")
    return words.model_copy(update={"licence_file": licence_file})


def _missing(model: type[BaseModel], content: Any, prefix: str = "") -> list[str]:
    """Name the required fields that are absent or empty."""
    given = content if isinstance(content, dict) else {}
    missing = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            missing += _missing(field.annotation, given.get(name), f"{name}.")
        elif field.is_required() and _is_blank(given.get(name)):
            missing.append(f"{prefix}{name}")
    return missing


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _filled(content: Any) -> Any:
    """Leave out what is empty, so that it is missing once, and not also of a wrong type."""
    if not isinstance(content, dict):
        return content
    return {key: _filled(value) for key, value in content.items() if not _is_blank(value)}
