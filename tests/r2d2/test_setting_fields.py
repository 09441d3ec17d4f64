"""Settings as forms know them: all of the models, none of their own."""

from typing import Any

import pytest
import yaml

from r2d2.config import configure
from r2d2.setting_fields import SettingField, architectures, setting_fields, value_text


@pytest.mark.parametrize("architecture", [name for name in architectures() if name != "custom"])
def test_they_are_all_settings_of_a_configuration_with_their_defaults(architecture: str) -> None:
    configuration = configure({"network": {"architecture": architecture}}).model_dump(mode="json")
    stated = {
        f"{name}.{key}" if isinstance(value, dict) else name: inner
        for name, value in configuration.items()
        for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
    fields = {field.key: field for field in setting_fields(architecture)}
    assert set(fields) == set(stated)
    for key, field in fields.items():
        if key not in ("network.architecture", "schema_version"):
            assert field.default == stated[key], key
            assert field.meaning, key


def accepts(field: SettingField, value: Any) -> bool:
    try:
        configure({}, assignments=[f"{field.key}={value_text(value)}"])
    except ValueError:
        return False
    return True


def test_bounds_are_where_values_are_refused() -> None:
    together = {"training.warmup_epochs", "transfer.unfreeze_after_epochs"}  # with others
    checked = 0
    for field in setting_fields("unet"):
        if field.kind not in ("whole", "number") or field.key in together:
            continue
        step = 1 if field.kind == "whole" else 1e-6
        if field.low is not None:
            low = int(field.low) if field.kind == "whole" else field.low
            assert accepts(field, low) is not field.is_low_open, field.key
            assert not accepts(field, low - step), field.key
            checked += 1
        if field.high is not None:
            high = int(field.high) if field.kind == "whole" else field.high
            assert accepts(field, high) is not field.is_high_open, field.key
            assert not accepts(field, high + step), field.key
            checked += 1
    assert checked > 40


def test_choices_are_what_is_taken() -> None:
    fields = {field.key: field for field in setting_fields("unet")}
    for key in ("training.optimizer", "training.schedule", "network.normalisation", "augmentation.interpolation"):
        assert len(fields[key].choices) > 1
        for choice in fields[key].choices:
            extra = ["augmentation.where=host"] if choice == "cubic" else []
            configure({}, assignments=[f"{key}={choice}", *extra])
    losses = fields["training.loss"]
    assert losses.kind == "text" and "dice" in losses.choices
    assert fields["network.architecture"].choices == tuple(architectures())
    assert fields["training.max_minutes"].may_be_null and not fields["training.epochs"].may_be_null


def test_values_are_read_back() -> None:
    for value in (None, True, 3, 0.001, "adam", "null", "3", [1, 2], {"encoder": 0.1}, 1e-7):
        assert yaml.safe_load(value_text(value)) == value
