"""What submissions may name: files of declared folders, code of named ones alone; wherever a value comes from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmed import prepare_dataset, write_phantom_study
from r2d2.engine import EngineSettings, Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.submission import accepted
from r2d2_base.errors import ConfigurationError
from tests.influx_servers import OK, misbehaving
from tests.r2d2.engine.conftest import Bench
from tests.r2d2.engine.small_tasks import NAME


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that jobs may use, with a dataset in it, beside one that they may not."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "data").mkdir()
    (folder / "other").mkdir()
    study = write_phantom_study(folder / "other" / "phantom", cases=5, shape=(32, 40, 8))
    prepare_dataset(study, folder / "data" / "liver")
    (folder / "data" / "code").mkdir()
    (folder / "data" / "code" / "lab.py").write_text("raise RuntimeError('run')\n")
    yield folder / "data"


def submitted(data: Path, task: str, code_roots: tuple[Path, ...] = (), **settings: object) -> object:
    work = data.parent / "work"
    engine = EngineSettings(work_root=work, data_roots=(data,), code_roots=code_roots)
    return accepted(Submission(task=task, settings=settings), engine, work / "jobs" / "7", "me")


def test_what_is_allowed_is_accepted(data: Path) -> None:
    assert submitted(data, "train", dataset=str(data / "liver"))


@pytest.mark.parametrize(
    "path", ["../other/phantom", "link", "loop", "a" * 300, "jobs/7/job.json", "web/secret", "engine.sock", ""]
)
def test_no_other_files_whatever_they_are_called(data: Path, path: str) -> None:
    for name, target in (("link", data.parent / "other" / "phantom"), ("loop", data / "loop")):
        if not (data / name).is_symlink():
            (data / name).symlink_to(target)
    base = data.parent / "work" if path.startswith(("jobs", "web", "engine")) or not path else data
    for task, key in (
        ("prepare", "source"),
        ("train", "dataset"),
        ("cross-validate", "dataset"),
        ("predict", "dataset"),
    ):
        given = {key: str(base / path), **({"model": "zoo:nuclei-unet"} if task == "predict" else {})}
        with pytest.raises(RefusedError):
            submitted(data, task, **given)


def test_no_files_out_of_words(data: Path) -> None:
    for word in ("transfer.start_from=../other/run", f"preparation.splits={data.parent}/other/splits.json"):
        with pytest.raises(RefusedError, match="outside of the folders"):
            submitted(data, "train", dataset=str(data / "liver"), settings=[word])


@pytest.mark.parametrize("task", ["train", "cross-validate"])
@pytest.mark.parametrize(
    ("word", "key"),
    [("network.architecture=lab:build", "network.build"), ("training.loss=os:system", "training.loss")],
)
def test_no_code_by_words(data: Path, task: str, word: str, key: str) -> None:
    with pytest.raises(RefusedError, match="an administrator has named") as caught:
        submitted(data, task, dataset=str(data / "liver"), settings=[word])
    assert [one for one, _ in caught.value.faults] == [key]


def test_a_choice_names_files_and_what_they_say_is_looked_at(data: Path) -> None:
    """Words that name a configuration are for the command line alone: what they name, nobody would look at."""
    dataset, files = str(data / "liver"), [str(data / f"{name}.yaml") for name in "ab"]
    for file in files:
        Path(file).write_text(f"network: {{base_filters: {4 + 4 * file.endswith('b.yaml')}}}\n")
    assert submitted(data, "choose", dataset=dataset, files=files)
    with pytest.raises(ConfigurationError, match="takes its configurations as files"):
        submitted(data, "choose", dataset=dataset, variants=["a:", "b: network.base_filters=8"])
    with pytest.raises(RefusedError, match="outside of the folders"):
        submitted(data, "choose", dataset=dataset, files=[files[0], str(data.parent / "other" / "b.yaml")])
    Path(files[1]).write_text("training: {loss: 'lab:loss'}\n")
    with pytest.raises(RefusedError, match=r"training\.loss: lab:loss is code"):
        submitted(data, "choose", dataset=dataset, files=files)


def test_no_code_by_a_file(data: Path) -> None:
    (data / "mine.yaml").write_text("training: {loss: 'lab:loss'}\n")
    config = str(data / "mine.yaml")
    with pytest.raises(RefusedError, match=r"training\.loss: lab:loss is code"):
        submitted(data, "train", dataset=str(data / "liver"), config=config)
    assert submitted(data, "train", (data / "code",), dataset=str(data / "liver"), config=config)


@pytest.mark.parametrize("path", ["zoo:x/../../../etc", "zoo:Nuclei/../../other"])
def test_what_only_begins_as_a_name_of_the_zoo_is_a_path(data: Path, path: str) -> None:
    (data.parent / "work" / "zoo:x").mkdir(parents=True, exist_ok=True)
    for task, given in (
        ("prepare", {"source": path}),
        ("report", {"dataset": str(data / "liver"), "out": path}),
        ("train", {"dataset": str(data / "liver"), "settings": [f"transfer.start_from={path}"]}),
        ("predict", {"dataset": str(data / "liver"), "model": path}),
    ):
        with pytest.raises(RefusedError, match=r"outside of the folders|is not there"):
            submitted(data, task, **given)


def test_no_other_hosts(data: Path) -> None:
    with pytest.raises(RefusedError, match="its own host"):
        submitted(data, "train", dataset=str(data / "liver"), settings=["hosts=localhost:2"])
    for given in ({"dataset": str(data / "liver")}, {}):  # without a dataset: the phantom's
        with pytest.raises(RefusedError, match="its own host"):
            submitted(data, "train", hosts="localhost:2", **given)


def test_no_other_servers_than_an_administrator_names(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2D2_INFLUX_URLS", "https://influx.example")
    monkeypatch.delenv("R2D2_INFLUX_TOKEN_FILE", raising=False)
    (data / "token").write_text("of another")
    (data / "token").chmod(0o600)
    (data / "mine.yaml").write_text("monitoring: {influx_url: 'http://127.0.0.1:22'}\n")
    dataset, server = str(data / "liver"), "monitoring.influx_url=https://influx.example"
    for task in ("train", "cross-validate"):
        for given in ({"settings": ["monitoring.influx_url=http://127.0.0.1:22"]}, {"config": str(data / "mine.yaml")}):
            with pytest.raises(RefusedError, match=r"these are https://influx\.example") as caught:
                submitted(data, task, dataset=dataset, **given)
            assert [key for key, _ in caught.value.faults] == ["monitoring.influx_url"]
        with pytest.raises(RefusedError, match="jobs name no token"):
            words = [server, f"monitoring.influx_token_file={data / 'token'}"]
            submitted(data, task, dataset=dataset, settings=words)
        assert submitted(data, task, dataset=dataset, settings=[server])


@pytest.mark.slow
def test_a_server_that_comes_to_light_when_a_job_begins_is_refused_then(tmp_path: Path) -> None:
    """Also where jobs may use any folder."""
    bench = Bench(tmp_path).open()
    dataset = prepare_dataset(write_phantom_study(tmp_path / "phantom", cases=5, shape=(32, 40, 8)), tmp_path / "liver")
    first = bench.submit().id
    config = tmp_path / "mine.yaml"
    settings = {"dataset": str(dataset.folder), "config": str(config)}
    job = bench.engine.submit(Submission(task="train", settings=settings, after=(first,))).id
    config.write_text("monitoring: {influx_url: 'http://127.0.0.1:22'}\n")
    ended = bench.ended(job)[0]
    assert ended.state == "failed" and "R2D2_INFLUX_URLS of the engine" in str(ended.reason)
    bench.close()


@pytest.mark.slow
def test_a_job_sends_to_the_server_that_was_named_with_the_engines_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("engines")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "data").mkdir()
    study = write_phantom_study(tmp_path / "phantom", cases=5, shape=(32, 40, 8))
    dataset = prepare_dataset(study, tmp_path / "data" / "liver").folder
    with misbehaving(OK) as server:
        monkeypatch.setenv("R2D2_INFLUX_URLS", server.url)
        monkeypatch.setenv("R2D2_INFLUX_TOKEN_FILE", str(tmp_path / "token"))
        bench = Bench(tmp_path, data_roots=(tmp_path / "data",)).open()
        words = ["network.base_filters=2", "training.epochs=1", f"monitoring.influx_url={server.url}"]
        settings = {"dataset": str(dataset), "settings": words}
        job = bench.engine.submit(Submission(task="train", settings=settings)).id
        assert bench.ended(job)[0].state == "completed"
        bench.close()
    assert {one.token for one in server.asked} == {"Token engines"}
    assert server.lines and all(f",job={job}," in line and ",run=output-" in line for line in server.lines)
    assert "engines" not in (tmp_path / "work" / "jobs" / str(job) / "output" / "config.yaml").read_text()


@pytest.mark.slow
def test_what_comes_to_light_only_when_a_job_begins_is_refused_then(tmp_path: Path) -> None:
    """A job that comes after another cannot be looked at as a whole when it is submitted."""
    bench = Bench(tmp_path, data_roots=(tmp_path,)).open()
    study = write_phantom_study(tmp_path / "phantom", cases=5, shape=(32, 40, 8))
    dataset = prepare_dataset(study, tmp_path / "liver").folder
    (dataset / "r2d2.yaml").write_text("dataset: .\nhosts: localhost:2\n")
    first = bench.submit().id
    submission = Submission(task="train", settings={"dataset": str(dataset), "config": str(dataset / "r2d2.yaml")})
    job = bench.engine.submit(submission.model_copy(update={"after": (first,)})).id
    ended = bench.ended(job)[0]
    assert (ended.state, ended.reason) == ("failed", "hosts: this engine's jobs run on its own host")
    bench.close()


def test_what_folds_of_a_cross_validation_say_is_looked_at(data: Path) -> None:
    fold = data / "folds" / "fold-1"
    fold.mkdir(parents=True)
    (fold / "config.yaml").write_text(f"dataset: {data.parent / 'other' / 'phantom'}\n")
    given = {"dataset": str(data / "liver"), "run_dir": str(data / "folds"), "resume": True}
    with pytest.raises(RefusedError, match="outside of the folders"):
        submitted(data, "cross-validate", **given)
    (fold / "config.yaml").write_text(f"dataset: {data / 'liver'}\n")
    assert submitted(data, "cross-validate", **given)


@pytest.mark.slow
def test_jobs_get_no_search_path_of_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are told which code they may run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "evil"))
    bench = Bench(tmp_path, code_roots=(tmp_path / "code",)).open()
    job = bench.submit(task=NAME, word="x", seconds=600).id
    bench.until(lambda: bench.lines("x") == ["begin"])
    pid = int(bench.journal.read_text().split()[2])
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    assert f"R2D2_CODE_ROOTS={tmp_path / 'code'}" in variables
    assert [one for one in variables if one.startswith("PYTHONPATH=")] == [
        f"PYTHONPATH={Path(__file__).resolve().parents[3]}"
    ]
    bench.engine.cancel(job)
    bench.ended(job)
    bench.close()
