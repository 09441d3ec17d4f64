"""A command whose options are fields of settings, and say what these say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["SettingsCommand"]


class SettingsCommand(TyperCommand):
    """A command with the help of its options from the settings' own descriptions, read when they are needed."""

    def setting_fields(self) -> Mapping[str, FieldInfo]:
        """Give the fields by the names of the options; those that have a help of their own need none."""
        raise NotImplementedError

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters, explained."""
        fields = self.setting_fields()
        for parameter in self.params:
            field = fields.get(parameter.name or "")
            if field is not None and getattr(parameter, "help", "") is None:
                is_plain = isinstance(field.default, str | int | float) and not isinstance(field.default, bool)
                default = f" Default: {field.default}." if is_plain else ""
                parameter.help = f"{(field.description or '').replace('null: ', 'By default: ')}{default}"  # type: ignore[attr-defined]
        return list(super().get_params(ctx))
