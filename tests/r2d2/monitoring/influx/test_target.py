import os
from pathlib import Path

import pytest

from r2d2.config import configure
from r2d2.engine.processes import MARK
from r2d2.monitoring.influx.target import SERVERS, TOKEN_FILE, check_listed, read_token, target_from, target_of
from r2d2.monitoring.settings import MonitoringSettings
from r2d2_base.errors import ConfigurationError


@pytest.mark.parametrize(
    "url", ["http://localhost:8086", "http://127.0.0.1:1/vm/", "http://[::1]:8086", "https://influx.example"]
)
def test_servers_that_may_be_named(url: str) -> None:
    assert MonitoringSettings(influx_url=url).influx_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("influx.example:8086", "must be like https"),
        ("ftp://influx.example", "must be like https"),
        ("http://", "must be like https"),
        ("http://localhost:port", "must be like https"),
        ("https://me:secret@influx.example", "no name and no password"),
        ("ftp://me:secret@influx.example", "must be like https"),
        ("https://influx.example/?token=secret", "must end with its port or path"),
        ("http://influx.example:8086", "in clear text; use https://"),
        ("http://127.0.0.1.example:8086", "in clear text"),
        ("http://localhost.example", "in clear text"),
    ],
)
def test_servers_that_may_not(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        configure({"monitoring": {"influx_url": url}})
    assert "monitoring" in str(caught.value) and "me:" not in str(caught.value)


def test_clear_text_by_a_word_of_its_own() -> None:
    assert MonitoringSettings(influx_url="http://influx.example", influx_insecure=True).influx_url


def test_what_is_not_recorded_cannot_be_sent() -> None:
    with pytest.raises(ConfigurationError, match="enabled=false records nothing"):
        configure({"monitoring": {"influx_url": "http://localhost", "enabled": False}})


def test_a_token_file_beside_a_configuration_is_found_from_anywhere(tmp_path: Path) -> None:
    from r2d2.config import read_layer

    (tmp_path / "r2d2.yaml").write_text("monitoring: {influx_token_file: token}\n")
    assert read_layer(tmp_path / "r2d2.yaml")["monitoring"]["influx_token_file"] == str(tmp_path / "token")


def write_token(file: Path, text: str = "s3cret==\n", mode: int = 0o600) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_token_of_ones_own(tmp_path: Path, mode: int) -> None:
    assert read_token(write_token(tmp_path / "token", mode=mode)) == "s3cret=="
    assert read_token(None) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o644, 0o620])
def test_a_token_of_others_too(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600") as caught:
        read_token(write_token(tmp_path / "token", mode=mode))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "s3cret\nX-Other: header", "s3cret s3cret", "s3crét", "s3cret" * 1000],
    ids=["empty", "a line", "a header", "two words", "a letter", "long"],
)
def test_what_is_no_token(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="must hold the token") as caught:
        read_token(write_token(tmp_path / "token", text))
    assert "s3cr" not in str(caught.value)


def test_places_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_token(tmp_path / "token")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="token of InfluxDB"):
            read_token(place)


def test_what_a_sender_is_told_is_read_as_it_was() -> None:
    settings = MonitoringSettings(influx_url="http://localhost:8086", influx_bucket="b", influx_token_file=Path("t"))
    target = target_of(settings, {TOKEN_FILE: "/other"})
    assert target is not None and target.token_file == Path("t").absolute() and target.job is None
    assert target_from(target.to_json()) == target
    assert target_of(MonitoringSettings(), {}) is None


def test_a_job_of_the_engine_sends_where_its_administrator_says(tmp_path: Path) -> None:
    job = {MARK: str(tmp_path / "jobs" / "12" / "attempts" / "3"), TOKEN_FILE: "/engine/token"}
    asked = MonitoringSettings(influx_url="https://influx.example")
    with pytest.raises(ConfigurationError, match=rf"{SERVERS} of the engine\): it names none"):
        target_of(asked, job)
    with pytest.raises(ConfigurationError, match=r"these are https://other\.example") as caught:
        target_of(asked, job | {SERVERS: "https://other.example"})
    assert [key for key, _ in caught.value.faults] == ["monitoring.influx_url"]
    allowed = job | {SERVERS: "https://other.example, https://INFLUX.example:443/"}
    target = target_of(asked, allowed)
    assert target is not None and (target.job, target.token_file) == ("12", Path("/engine/token"))
    with pytest.raises(ConfigurationError, match="jobs name no token"):
        target_of(asked.model_copy(update={"influx_token_file": Path("/home/other/token")}), allowed)


@pytest.mark.parametrize(
    "url", ["https://influx.example:8443", "https://influx.example.evil.example", "https://influx.example/inner"]
)
def test_a_server_that_looks_like_one_of_them_is_another(url: str) -> None:
    with pytest.raises(ConfigurationError, match="none of the servers"):
        check_listed(MonitoringSettings(influx_url=url), {SERVERS: "https://influx.example"})
