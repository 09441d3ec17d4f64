"""r2d2 monitor: what it says, and what it refuses."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from r2d2.cli import app
from tests.influx_servers import OK, misbehaving
from tests.r2d2.monitoring.alerts import runs
from tests.r2d2.monitoring.influx.run_folders import write_run

RUNNER = CliRunner()


def test_it_says_what_was_sent_and_sends_it_once(tmp_path: Path) -> None:
    with misbehaving(OK) as server:
        run = write_run(tmp_path / "run", steps=5, influx_url=server.url).path
        command = ["monitor", "replay", "--run-dir", str(run)]
        first, again, anew = (RUNNER.invoke(app, [*command, *more]) for more in ([], [], ["--all"]))
    assert first.output == f"38 points sent. InfluxDB at {server.url} has 38 points of this run.\n"
    assert again.output == f"0 points sent. InfluxDB at {server.url} has 38 points of this run.\n"
    assert anew.output == first.output
    ledger = json.loads((run / "monitoring" / "influx.json").read_text())
    assert (ledger["sent"], ledger["run"]) == (38, "run-20261130T005320Z")


def fault(*words: str) -> str:
    """What the command line would say, in one line."""
    ended = RUNNER.invoke(app, ["monitor", "replay", *words])
    assert ended.exit_code != 0 and getattr(ended.exception, "exit_code", None) == 2
    return str(ended.exception)


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    assert "is no run folder" in fault("--run-dir", str(tmp_path))
    run = write_run(tmp_path / "run").path
    assert "was sent to no server; name one" in fault("--run-dir", str(run))
    url = "monitoring.influx_url=http://localhost:1"
    assert "no such file" in fault("--run-dir", str(run), url, f"monitoring.influx_token_file={tmp_path / 'token'}")
    (run / "events.jsonl").unlink()
    assert "has no record of a training yet" in fault("--run-dir", str(run), url)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--mlflow http://localhost:1", "give both, like"),
        ("--mlflow http://localhost:1 --run-dir nowhere", "nowhere is no run folder"),
        ("--mlflow ftp://here --run-dir r", "--mlflow must be like https://mlflow.example:5000; received 'ftp://here'"),
        ("--mlflow http://a:b@here --run-dir r", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD say them"),
        ("--mlflow http://node1:5000 --run-dir r", "in clear text; use https://, or --insecure"),
        ("--mlflow http://node1:5000 --run-dir r --insecure", "r is no run folder"),
        ("--mlflow http://localhost:1 replay --run-dir r", "give --run-dir behind 'replay'"),
    ],
)
def test_what_cannot_be_logged_to_mlflow(words: str, said: str) -> None:
    ended = RUNNER.invoke(app, ["monitor", *words.split()])
    assert getattr(ended.exception, "exit_code", None) == 2 and said in str(ended.exception)


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    run, token = write_run(tmp_path / "run").path, tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o644)
    command = ["monitor", "--mlflow", "http://localhost:1", "--run-dir", str(run), "--token-file", str(token)]
    ended = RUNNER.invoke(app, command)
    assert "others than you may use the token of MLflow" in str(ended.exception)


def test_a_missing_client_is_named_with_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    run = write_run(tmp_path / "run").path
    ended = RUNNER.invoke(app, ["monitor", "--mlflow", "http://localhost:1", "--run-dir", str(run)])
    assert str(ended.exception) == "MLflow's client is missing: pip install 'r2d2[mlflow]'"


def test_what_is_wrong_is_said_with_what_to_do_and_in_the_exit_code(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path / "run")
    command = ["monitor", "alerts", "--run-dir", str(folder.path)]
    good = RUNNER.invoke(app, command)
    assert (good.exit_code, good.output) == (0, "no alerts\n")
    runs.add_rank(folder, 0, 100)
    runs.add_rank(folder, 1, 10)
    bad = RUNNER.invoke(app, command)
    assert bad.exit_code == 1
    first, second, third = bad.output.splitlines()
    assert (first, second.split(",")[0]) == ("critical: silent (rank 1)", "  Rank 1 is silent")
    assert "cancel, then resume" in third
    ended = RUNNER.invoke(app, ["monitor", "alerts", "--run-dir", str(tmp_path)])
    assert getattr(ended.exception, "exit_code", None) == 2 and "is no run folder" in str(ended.exception)
