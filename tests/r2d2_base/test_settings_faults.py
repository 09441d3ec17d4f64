"""Faults of settings in a user's words: where, what is needed, what was received, and no type of Python's."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, field_validator

from imgmed import PreparationSettings
from r2d2.config import Configuration
from r2d2_base.settings_faults import settings_faults
from segeval import Conventions


class Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    op: Literal["turn"] = "turn"
    angle: float


class Flip(BaseModel):
    op: Literal["flip"] = "flip"
    axis: Literal["x", "y"] = "x"


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: tuple[int, int] = (1, 1)
    names: tuple[str, ...] = Field(default=(), max_length=2)
    rate: FiniteFloat = Field(default=1.0, gt=0, le=1)
    is_quick: bool = False
    folder: Path | None = None
    labels: dict[str, int] | None = None
    weights: float | dict[str, float] = 1.0
    values: dict[int, int] | Literal["all"] = "all"
    steps: tuple[Annotated[Turn | Flip, Field(discriminator="op")], ...] = ()

    @field_validator("folder")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.exists():
            raise ValueError("name a folder that exists")
        return value


class Whole(BaseModel):
    section: Settings = Settings()


def faults_of(model: type[BaseModel], content: Any, **options: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(content)
    return settings_faults(caught.value, model, **options)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"size": 3}, "size: must be a list, like [1, 2]; received 3"),
        ({"size": [1]}, "size: has too few entries; received [1]"),
        ({"size": [1, None]}, "size.1: must be a whole number; received null"),
        ({"size": [1, 2.5]}, "size.1: must be a whole number; received 2.5"),
        ({"names": ("a", "b", "c")}, "names: must have at most 2 entries; received ['a', 'b', 'c']"),
        ({"rate": "fast"}, "rate: must be a number; received 'fast'"),
        ({"rate": "nan"}, "rate: must be a finite number; received 'nan'"),
        ({"rate": 0}, "rate: must be more than 0; received 0"),
        ({"rate": 2}, "rate: must be at most 1; received 2"),
        ({"is_quick": "perhaps"}, "is_quick: must be true or false; received 'perhaps'"),
        ({"folder": 5}, "folder: must be the path of a file or folder; received 5"),
        ({"folder": "no such"}, "folder: name a folder that exists"),
        ({"labels": [1]}, "labels: must be keys with values, like {a: 1}; received [1]"),
        ({"labels": {"int": "x"}}, "labels: must be a whole number; received 'x'"),
        ({"weights": True and "x"}, "weights: must be a number, or keys with values, like {a: 1}; received 'x'"),
        ({"weights": {"a": [1]}}, "weights.a: must be a number; received [1]"),
        ({"values": {"others": 5}}, "values: key 'others' must be a whole number"),
        ({"values": 7}, "values: must be keys with values, like {a: 1}, or 'all'; received 7"),
        ({"steps": [{"op": "turn"}]}, "steps.0.angle: must be given"),
        (
            {"steps": [{"op": "turn", "angle": 1, "angel": 2}]},
            "steps.0.angel: unknown key; did you mean angle? valid: ",
        ),
        ({"steps": [{"op": "flip", "axis": "z"}]}, "steps.0.axis: must be 'x' or 'y'; received 'z'"),
        ({"steps": [{"op": "flop"}]}, "steps.0.op: must be one of 'turn', 'flip'; received 'flop'"),
        ({"steps": [{}]}, "steps.0.op: must be one of 'turn', 'flip'; it is missing"),
        ({"steps": [5]}, "steps.0: must be keys with values, like {a: 1}; received 5"),
        ({"sise": 5}, "sise: unknown key; did you mean size? valid: "),
        (5, "must be keys with values, like {a: 1}; received 5"),
    ],
    ids=str,
)
def test_each_fault_is_one_sentence(content: Any, sentence: str) -> None:
    (said,) = faults_of(Settings, content)
    assert said.startswith(sentence) if sentence.endswith("valid: ") else said == sentence
    if content != 5:
        assert faults_of(Whole, {"section": content}) == [f"section.{said}"]
        assert faults_of(Whole, {"section": content}, unsaid=("section",)) == [said]


def test_all_faults_are_said_and_long_values_are_cut() -> None:
    said = faults_of(Settings, {"rate": "x" * 100, "size": 1, "is_quick": None})
    assert [sentence.partition(":")[0] for sentence in said] == ["size", "rate", "is_quick"]
    assert len(said[1]) < 100 and said[1].endswith("xxx...")


def test_without_settings_of_ours_the_place_is_said_too() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"a": "x"})
    assert settings_faults(caught.value) == ["a: must be a whole number; received 'x'"]


WRONG = (5, "wrong", [None], {"a": [1]}, True, -1e300)


@pytest.mark.parametrize("model", [Configuration, PreparationSettings, Conventions])
def test_no_setting_shows_a_type_of_pythons(model: type[BaseModel]) -> None:
    """Every setting of every section with values of every kind: whatever is refused is refused in a user's words."""
    contents = [{name: wrong} for name in model.model_fields for wrong in WRONG]
    for section, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            contents += [{section: {name: wrong}} for name in field.annotation.model_fields for wrong in WRONG]
    said = []
    for content in contents:
        try:
            model.model_validate(content)
        except ValidationError as error:
            said += settings_faults(error, model)
    assert len(said) > 20
    python = re.compile(
        r"\b(tuple|dict|dictionary|NoneType|int|str|float|bool|instance|pathlib|None|True|False)\b|\w\["
    )
    assert [sentence for sentence in said if python.search(sentence.partition("; received")[0])] == []
