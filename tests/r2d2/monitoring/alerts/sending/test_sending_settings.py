"""The administrator's file: what may stand in it, and that no error repeats a secret."""

import re
from pathlib import Path

import pytest

from r2d2.monitoring.alerts.alert import KINDS
from r2d2.monitoring.alerts.sending.settings import ALERTS_FILE, read_sending
from r2d2_base.errors import ConfigurationError

GOOD = """
console: https://r2d2.example
kinds: [divergence, ended]
webhooks:
  - url: https://hooks.example/T0/secret-path
    secret: a-long-shared-secret
mail: {server: smtp.example, user: r2d2, password: secret-word, sender: r2d2@example.org, to: [a@example.org]}
"""


def named(tmp_path: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    file.chmod(mode)
    return {ALERTS_FILE: str(file)}


def test_a_file_that_is_right(tmp_path: Path) -> None:
    assert read_sending({}) is None
    found = read_sending(named(tmp_path, GOOD))
    assert found is not None and found.kinds == ("divergence", "ended") and not found.private
    assert found.webhooks[0].host == "hooks.example" and found.mail is not None and found.mail.port == 587
    assert "secret" not in repr(found).replace("secret=SecretStr", "")
    least = read_sending(named(tmp_path, "webhooks: [{url: https://a.example/}]"))
    assert least is not None and least.kinds == KINDS


def test_the_file_on_the_page_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[5] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```text\n(console:.*?)```", page, re.DOTALL)
    found = read_sending(named(tmp_path, text))
    assert found is not None and found.mail is not None and set(found.kinds) == set(KINDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("webhooks: [{url: http://a.example/secret-path}]", "private: true"),
        ("webhooks: [{url: ftp://a.example/secret-path}]", "webhooks.0.url"),
        ("webhooks: [{url: https://user:secret-word@a.example/}]", "without a user name"),
        ("webhooks: [{url: https://a.example/, secret: secret-word}]", "webhooks.0.secret"),
        ("webhook: [{url: https://a.example/secret-path}]", "webhook: Extra inputs"),
        ("kinds: [secret-word]", "kinds.0"),
        ("mail: {server: a, sender: a@b, to: [nobody]}", "mail.to"),
        ("mail: {server: a, sender: 'a@b\\r\\nBcc: c@d', to: [e@f]}", "mail.sender"),
        ("mail: {server: a, sender: a@b, to: []}", "mail.to"),
        ("- secret-word", "is no YAML with webhooks or mail"),
        ("a: [", "is no YAML with webhooks or mail"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_secrets(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_sending(named(tmp_path, text))
    assert words in str(caught.value) and "secret-" not in str(caught.value)


def test_a_file_that_others_may_read_or_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"chmod 600 .*, and have new secrets made"):
        read_sending(named(tmp_path, GOOD, 0o640))
    with pytest.raises(ConfigurationError, match="no such file"):
        read_sending({ALERTS_FILE: str(tmp_path / "none")})
