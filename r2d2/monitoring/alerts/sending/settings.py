"""Where alerts are sent: a file of the administrator's, which nobody else may read, as it holds secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from r2d2.monitoring.alerts.alert import KINDS, Kind
from r2d2.monitoring.secret_file import read_secret
from r2d2_base.errors import ConfigurationError

__all__ = ["ALERTS_FILE", "Mail", "SendingSettings", "Webhook", "read_sending"]

ALERTS_FILE = "R2D2_ALERTS_FILE"
"""Environment variable of the engine: the file that says where alerts are sent."""
_LONGEST_FILE = 65_536
_STRICT = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_ADDRESS = r"^[^@\s<>,;:]{1,64}@[^@\s<>,;:]{1,253}$"


class Webhook(BaseModel):
    """A server that gets each alert as JSON, by POST."""

    model_config = _STRICT

    url: SecretStr = Field(description="address; who knows it may often post there, so it is shown nowhere")
    secret: SecretStr | None = Field(default=None, min_length=16, description="signs what is sent; none: nothing does")

    @field_validator("url")
    @classmethod
    def _is_of_the_web(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_whole = False
        if not is_whole or parts.username is not None or not value.get_secret_value().isprintable():
            raise ValueError("must be a URL such as https://hooks.example/r2d2, without a user name in it")
        return value

    @property
    def host(self) -> str:
        """The server, which may be shown."""
        return urlsplit(self.url.get_secret_value()).hostname or ""

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return urlsplit(self.url.get_secret_value()).scheme == "https"


class Mail(BaseModel):
    """A mail server that takes messages for others."""

    model_config = _STRICT

    server: str = Field(min_length=1, max_length=253, description="its name or address")
    port: int = Field(default=587, ge=1, le=65535, description="587 for starttls, 465 for tls, as a rule")
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", description="how it is encrypted")
    user: str = Field(default="", max_length=320, description="none: no log-in")
    password: SecretStr = Field(default=SecretStr(""), description="of that user")
    sender: str = Field(pattern=_ADDRESS, description="address that messages come from")
    to: tuple[str, ...] = Field(min_length=1, max_length=50, description="addresses that get them")

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(one.isascii() and one.isprintable() and one.count("@") == 1 and " " not in one for one in value):
            raise ValueError("must be addresses such as imaging@hospital.example")
        return value

    @model_validator(mode="after")
    def _hides_its_password(self) -> Mail:
        if self.security == "none" and self.user:
            raise ValueError("a log-in needs security: starttls or tls, else the password can be overheard")
        return self


class SendingSettings(BaseModel):
    """Where alerts go, and which.

    >>> SendingSettings(webhooks=[{"url": "https://hooks.example/r2d2"}]).webhooks[0].host
    'hooks.example'
    """

    model_config = _STRICT

    webhooks: tuple[Webhook, ...] = Field(default=(), max_length=10, description="servers that get JSON")
    mail: Mail | None = Field(default=None, description="server that sends e-mail")
    kinds: tuple[Kind, ...] = Field(default=KINDS, description="of the alerts that are sent")
    console: str | None = Field(
        default=None, pattern=r"^https?://[^\s]+$", description="address of the console, for links to its pages"
    )
    private: bool = Field(
        default=False, description="send to addresses that are not public too (this host, a local network), and by http"
    )

    @model_validator(mode="after")
    def _are_encrypted(self) -> SendingSettings:
        if not self.private and not all(webhook.is_encrypted for webhook in self.webhooks):
            raise ValueError("a webhook by http:// can be overheard: take https://, or say private: true")
        return self


def read_sending(environment: Mapping[str, str]) -> SendingSettings | None:
    """Read the file that the environment names; None: it names none, and nothing is sent.

    Raises:
        ConfigurationError: it cannot be used; the message holds none of its secrets.
    """
    named = environment.get(ALERTS_FILE)
    if not named:
        return None
    file = Path(named)
    content = read_secret(file, "the settings of alerts", "new secrets", _LONGEST_FILE)
    try:
        if len(content) > _LONGEST_FILE:
            raise ValueError
        told = yaml.safe_load(content)
        if not isinstance(told, dict):
            raise ValueError
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigurationError(f"{file} is no YAML with webhooks or mail in it (docs/monitoring.md)") from None
    try:
        return SendingSettings.model_validate(told)
    except ValidationError as error:
        faults = "; ".join(_in_words(one["loc"], one["msg"]) for one in error.errors(include_input=False))
        raise ConfigurationError(f"{file}: {faults}") from None


def _in_words(place: Sequence[object], message: str) -> str:
    words = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, place))}: {words}" if place else words
