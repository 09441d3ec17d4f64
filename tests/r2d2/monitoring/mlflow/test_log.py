"""Runs logged to a real tracking server, and read back by MLflow's own client."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dist_training.inference.model_card import ModelCard, UsedCase
from dist_training.record.events import EventLog, Running
from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2.cli import app
from r2d2.config import Configuration, commented_yaml
from r2d2.monitoring.mlflow import log as log_module
from r2d2.monitoring.mlflow.log import LoggedNow, log_run
from r2d2.monitoring.mlflow.parameters import flat, shown_settings
from r2d2.monitoring.mlflow.server import AwayError, MlflowError
from tests.mlflow_servers import Mlflow, Way, mlflow_server, needs_mlflow, way_to
from tests.r2d2.monitoring.influx.run_folders import BEGIN, add_steps, write_run
from tests.zoo_models import write_model

mlflow = pytest.importorskip("mlflow", reason="MLflow's client is not installed")
pytestmark = [needs_mlflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")]

PATIENT = "Zaphod_Beeblebrox_1942"
TOKEN = "s3cret-token"
LABELS = {"left ventricle": 1 / 3, "tumour": 0.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def way(server: Mlflow) -> Iterator[Way]:
    with way_to(server.url) as open_way:
        yield open_way


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has ended, with a network, whose files name a patient wherever they may."""
    run = write_run(tmp_path / PATIENT / "heart")
    add_environment(run, command=["r2d2", "train", f"/scans/{PATIENT}"])
    write_settings(run, dataset=f"/scans/{PATIENT}/prepared", transfer={"start_from": f"/scans/{PATIENT}/other"})
    write_model(run.path)
    card = ModelCard.model_validate(json.loads(run.card.read_text()))
    used = UsedCase(case_id=PATIENT, split="train", image_sha256=("0" * 64,))
    run.card.write_text(card.model_copy(update={"cases": (used,)}).model_dump_json())
    run.write_exit(RunEnd(state="failed", reason=f"case {PATIENT} is damaged", time=BEGIN + 30))
    return run


def add_environment(run: RunFolder, **more: Any) -> None:
    versions = {"python": "3.11.2", "keras": "3.15.1"}
    content = {"schema_version": 1, "versions": versions, "commit": "abc123", "host": "node1", "world_size": 2, **more}
    run.environment.write_text(json.dumps(content))


def write_settings(run: RunFolder, **settings: Any) -> None:
    run.config.write_text(commented_yaml(Configuration.model_validate(settings), "a run"))


def end(run: RunFolder) -> None:
    run.write_exit(RunEnd(state="completed", time=BEGIN + 30))


def client_of(server: Mlflow) -> Any:
    return mlflow.MlflowClient(server.url)


def values(server: Mlflow, now: LoggedNow, name: str) -> list[tuple[int, float, int]]:
    """(step, value, time in ms) of a metric, as the server has it."""
    history = client_of(server).get_metric_history(now.logged.run_id, name)
    return [(one.step, one.value, one.timestamp) for one in sorted(history, key=lambda one: one.timestamp)]


def files(server: Mlflow, now: LoggedNow, folder: Path) -> dict[str, bytes]:
    """Content of every artifact."""
    got = Path(client_of(server).download_artifacts(now.logged.run_id, "", str(folder)))
    return {path.relative_to(got).as_posix(): path.read_bytes() for path in got.rglob("*") if path.is_file()}


def test_all_of_a_run_is_there(server: Mlflow, folder: RunFolder) -> None:
    now = log_run(folder.path, server.url, experiment="all")
    run = client_of(server).get_run(now.logged.run_id)
    assert (run.info.status, run.info.run_name) == ("FAILED", "heart-20261130T005320Z")
    assert (run.info.start_time, run.info.end_time) == (1000 * BEGIN, 1000 * (BEGIN + 30))
    place = client_of(server).get_experiment(run.info.experiment_id)
    assert (place.name, place.tags["mlflow.experimentKind"]) == ("all", "custom_model_development")
    settings = dict(flat(shown_settings(folder)))
    assert run.data.params == settings and len(settings) > 100
    assert settings["training.epochs"] == str(Configuration().training.epochs)
    told = {
        "version.keras": "3.15.1",
        "r2d2.state": "failed",
        "mlflow.source.git.commit": "abc123",
        "r2d2.host": "node1",
    }
    assert told.items() <= run.data.tags.items()
    for name, value in (("loss", lambda step: 1 / (3 * step)), ("learning_rate", lambda step: 1e-3 / step)):
        expected = [(step, value(step), round(1000 * (BEGIN + step + 0.123456))) for step in range(1, 21)]
        assert values(server, now, f"step/{name}") == expected
    assert values(server, now, "validation_dice/left ventricle") == [(20, 1 / 3, 1000 * BEGIN + 20500)]
    assert {"validation_dice/tumour", "epoch/loss", "epoch"} <= run.data.metrics.keys()
    assert "validation_dice/b_c_d" not in run.data.metrics  # it has no Dice
    # a second's record is n/7 %; 20 of them are two stretches of ten seconds
    assert values(server, now, "system/cpu_utilization_percentage") == [
        (9, pytest.approx(sum(range(10)) / 70, rel=1e-4), 1000 * (BEGIN + 9)),
        (19, pytest.approx(sum(range(10, 20)) / 70, rel=1e-4), 1000 * (BEGIN + 19)),
    ]
    assert [value for _, value, _ in values(server, now, "system/worker_1/input_percentage")] == pytest.approx([10, 10])
    assert [value for _, value, _ in values(server, now, "system/gpu_0_utilization_percentage")] == [3, 3]
    assert now.metrics == now.logged.metrics == sum(len(values(server, now, name)) for name in run.data.metrics)


def test_no_patient_is_named(server: Mlflow, folder: RunFolder, tmp_path: Path) -> None:
    assert PATIENT in folder.card.read_text() and PATIENT in folder.config.read_text()
    now = log_run(folder.path, server.url)
    got = files(server, now, tmp_path / "got")
    assert got.keys() == {"r2d2.yaml", "training.html", "model/model.keras", "model/model.json"}
    run = client_of(server).get_run(now.logged.run_id)
    for place, content in got.items():
        assert PATIENT.encode() not in content and b"Zaphod" not in content, place
    assert "Zaphod" not in str(run.to_dictionary())
    assert got["model/model.keras"] == folder.model.read_bytes()
    card = ModelCard.model_validate_json(got["model/model.json"])
    assert [case.case_id for case in card.cases] == ["case 1"] and card.cases[0].image_sha256 != ("0" * 64,)
    assert yaml.safe_load(got["r2d2.yaml"])["dataset"] == "prepared"
    assert b"State: failed, after 1 epoch" in got["training.html"]


def test_the_command_says_what_was_logged(server: Mlflow, folder: RunFolder) -> None:
    command = ["monitor", "--mlflow", server.url, "--run-dir", str(folder.path), "--experiment", "said", "--no-files"]
    first, again = (CliRunner().invoke(app, command).output for _ in range(2))
    (run,) = runs_in(server, "said")
    place = f"MLflow at {server.url} has 76 values of this run, as run {run.info.run_id} of experiment said.\n"
    assert first == f"76 values and 0 files logged. {place}"
    assert again == f"0 values and 0 files logged. {place}"


def test_done_again_adds_nothing(server: Mlflow, folder: RunFolder) -> None:
    first = log_run(folder.path, server.url, experiment="again")
    before = client_of(server).get_run(first.logged.run_id).to_dictionary()
    again = log_run(folder.path, server.url, experiment="again")
    assert (again.metrics, again.files, again.logged.run_id) == (0, 0, first.logged.run_id)
    assert client_of(server).get_run(first.logged.run_id).to_dictionary() == before
    shutil.rmtree(folder.monitoring / "mlflow")  # the note is lost: MLflow knows the run by its tags
    anew = log_run(folder.path, server.url, experiment="again")
    assert anew.logged.run_id == first.logged.run_id and anew.metrics == first.metrics
    assert len(values(server, anew, "step/loss")) == 20


def test_a_resumed_run_goes_on_in_the_same(server: Mlflow, folder: RunFolder) -> None:
    first = log_run(folder.path, server.url, experiment="resumed")
    add_steps(folder, 20, 5)
    write_settings(folder, training={"epochs": 7})
    end(folder)
    then = log_run(folder.path, server.url, experiment="resumed")
    run = client_of(server).get_run(then.logged.run_id)
    assert then.logged.run_id == first.logged.run_id and run.info.status == "FINISHED"
    assert [step for step, _, _ in values(server, then, "step/loss")] == list(range(1, 26))
    assert run.data.params["training.epochs:2"] == "7"
    assert run.data.params["training.epochs"] == str(Configuration().training.epochs)
    assert then.files == 2  # settings and report are others, the network is the same


def test_a_run_at_work_is_followed(server: Mlflow, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_INTERVAL_S", 0.05)
    folder.exit.unlink()
    writing = EventLog(folder.events)  # its lock says that the run is at work
    said: list[str] = []
    ended: list[LoggedNow] = []
    following = threading.Thread(
        target=lambda: ended.append(log_run(folder.path, server.url, experiment="live", say=said.append))
    )
    following.start()
    seen = wait_for(lambda: runs_in(server, "live"))[0]
    wait_for(lambda: client_of(server).get_run(seen.info.run_id).data.metrics.get("epoch"))
    assert client_of(server).get_run(seen.info.run_id).info.status == "RUNNING" and said
    writing.record(
        Running(
            time=BEGIN + 21, epochs=3, steps_per_epoch=5, training_slices=5, validation_slices=1, global_batch_size=1,
            parameters=1,
        )
    )  # fmt: skip
    writing.close()
    end(folder)
    following.join(120)
    (now,) = ended
    assert client_of(server).get_run(now.logged.run_id).info.status == "FINISHED"
    assert len(values(server, now, "step/loss")) == 20 and now.files == 4


def runs_in(server: Mlflow, experiment: str) -> list[Any]:
    found = client_of(server).get_experiment_by_name(experiment)
    return [] if found is None else list(client_of(server).search_runs([found.experiment_id]))


def wait_for(look: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("fault", [500, 503, 429, 0])
def test_what_comes_to_grief_is_there_once(server: Mlflow, way: Way, folder: RunFolder, fault: int) -> None:
    log_run(folder.path, way.url, experiment=f"grief {fault}")
    add_steps(folder, 20, 5)
    end(folder)
    way.on, way.faults = "log-batch", [fault, fault]
    said: list[str] = []
    now = log_run(folder.path, way.url, experiment=f"grief {fault}", say=said.append)
    assert [step for step, _, _ in values(server, now, "step/loss")] == list(range(1, 26))
    words = {0: "it cannot be reached"}.get(fault, f"it answers {fault}")
    assert said == [
        f"MLflow at {way.url} does not take the run: {words}; it is asked again",
        f"MLflow at {way.url} takes the run again",
    ]


def test_a_server_that_is_down(folder: RunFolder, server: Mlflow, way: Way) -> None:
    way.faults = [503] * 99
    with pytest.raises(AwayError, match="it answers 503; the same command goes on where it was"):
        log_run(folder.path, way.url, experiment="down", patience_s=0)
    gone = "http://127.0.0.1:9"
    with pytest.raises(AwayError, match="it cannot be reached"):
        log_run(folder.path, gone, patience_s=0)
    way.faults = []
    assert log_run(folder.path, way.url, experiment="down").metrics > 50


def test_a_server_that_refuses(
    folder: RunFolder, server: Mlflow, way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way.token = TOKEN
    with pytest.raises(MlflowError, match=r"refuses: .*401") as refused:
        log_run(folder.path, way.url, experiment="refused", patience_s=20)
    assert not isinstance(refused.value, AwayError)
    wrong = tmp_path / "wrong"
    wrong.write_text("wr0ng-token")
    wrong.chmod(0o600)
    with pytest.raises(MlflowError) as refused:
        log_run(folder.path, way.url, experiment="refused", token_file=wrong)
    assert "wr0ng" not in str(refused.value) and way.asked[-1][2] == "Bearer wr0ng-token"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    now = log_run(folder.path, way.url, experiment="refused")
    assert now.files == 4 and {token for _, _, token in way.asked[-20:]} == {f"Bearer {TOKEN}"}
    left = b"".join(path.read_bytes() for path in folder.path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in left and b"wr0ng" not in left


def test_a_server_that_would_write_here(server: Mlflow, folder: RunFolder, tmp_path: Path) -> None:
    aims = tmp_path / "somewhere"
    for place in (str(aims), aims.as_uri(), "mlflow-artifacts://other.example:80/x"):
        client_of(server).create_experiment(place, artifact_location=place)
        with pytest.raises(MlflowError, match=r"takes no files.*--no-files"):
            log_run(folder.path, server.url, experiment=place)
        assert not aims.exists()
    now = log_run(folder.path, server.url, experiment=place, with_files=False)
    assert client_of(server).get_run(now.logged.run_id).info.status == "FAILED"


def test_a_value_that_is_too_long_is_cut_and_named(
    server: Mlflow, folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {**shown_settings(folder), "hosts": "n" * 7000}
    monkeypatch.setattr(log_module, "shown_settings", lambda folder: long)
    now = log_run(folder.path, server.url, experiment="cut", with_files=False)
    kept = client_of(server).get_run(now.logged.run_id).data.params["hosts"]
    assert now.cut == ["hosts"] and len(kept) == 6000 and kept.endswith("n ... (cut)")
    again = log_run(folder.path, server.url, experiment="cut", with_files=False)
    assert "hosts:2" not in client_of(server).get_run(again.logged.run_id).data.params
