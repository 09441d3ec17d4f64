"""Faults that pydantic really finds, in words without Python's types."""

import re
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from r2d2_base.faults import plain_faults


class Inner(BaseModel):
    sizes: tuple[float, float] | None = None


class Settings(BaseModel):
    count: int = Field(default=1, ge=1, le=9)
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    pair: tuple[int, int] = (1, 2)
    names: tuple[str | int, ...] = ()
    mapping: dict[int, int] | Literal["all"] | None = None
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if self.count == 5:
            raise ValueError("count is never 5; received 5")
        return self


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"count": "x"}, ["count: must be a whole number; received 'x'"]),
        ({"count": 2.5}, ["count: must be a whole number; received 2.5"]),
        ({"count": 0}, ["count: must be at least 1; received 0"]),
        ({"count": 10}, ["count: must be at most 9; received 10"]),
        ({"count": 5}, [": count is never 5; received 5"]),
        ({"rate": 0}, ["rate: must be greater than 0; received 0"]),
        ({"pair": 3}, ["pair: must be a list, like [1, 2]; received 3"]),
        ({"pair": [3]}, ["pair: must be a longer list; received [3]"]),
        ({"pair": [1, 2, 3]}, ["pair: must be a list of at most 2; received [1, 2, 3]"]),
        ({"names": [1.5]}, ["names.0: must be a word, or a whole number; received 1.5"]),
        ({"mapping": 3}, ["mapping: must be keys with values, like {liver: 1}, or all; received 3"]),
        ({"mapping": {"a": 1}}, ["mapping.a: must be a whole number; received 'a'"]),
        ({"mapping": {1: "x"}}, ["mapping.1: must be a whole number; received 'x'"]),
        (
            {"kind": None, "flag": "maybe"},
            ["kind: must be a or b; received null", "flag: must be true or false; received 'maybe'"],
        ),
        ({"inner": {"sizes": ["x", 1]}}, ["inner.sizes.0: must be a number; received 'x'"]),
        ({"inner": 1}, ["inner: must be keys with values, like {liver: 1}; received 1"]),
    ],
)
def test_faults_are_said_in_plain_words(given, expected):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(given)
    said = [f"{'.'.join(place)}: {sentence}" for place, sentence in plain_faults(caught.value.errors())]
    assert said == expected
    assert not re.search(r"dict|tuple|valid |\\[key\\]|Input|literal", " ".join(said))
