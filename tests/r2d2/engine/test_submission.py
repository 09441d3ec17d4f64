"""What is refused before it is queued: faults of settings, folders that are missing or outside, too many workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2.engine import EngineSettings, Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.paths import check_roots, paths_in, placed
from r2d2.engine.submission import accepted
from r2d2.engine.words import settings_of_words
from r2d2.tasks.prediction import PredictSettings
from r2d2.tasks.registry import TASK_NAMES, find_task
from r2d2.tasks.training import TrainSettings
from r2d2_base.errors import ConfigurationError, R2D2Error
from r2d2_base.machine import whole_cores
from tests.r2d2.engine import small_tasks
from tests.r2d2.engine.conftest import Bench


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Bench]:
    """An engine that nobody has look at its jobs: nothing starts."""
    made = Bench(tmp_path, max_workers=3).open()
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_phantom_study(folder / "study", cases=4, shape=(32, 40, 8))
    prepare_dataset(folder / "study", folder / "liver", PreparationSettings())
    return folder


def submitted(engine: EngineSettings, task: str, **settings: object) -> dict[str, object]:
    submission = Submission(task=task, settings=settings)
    return dict(accepted(submission, engine, engine.work_root / "jobs" / "7", "me"))


@pytest.fixture
def engine(tmp_path: Path) -> EngineSettings:
    return EngineSettings(work_root=tmp_path)


def test_every_task_has_settings_and_what_it_reads_and_fills() -> None:
    first = ("prepare", "train", "cross-validate", "predict", "evaluate", "compare", "choose", "report")
    assert (*first, "publish", "pull") == TASK_NAMES
    for name in TASK_NAMES:
        task = find_task(name)
        assert task.name == name
        assert set(task.reads) | ({task.output} if task.output else set()) <= set(task.settings.model_fields)
    with pytest.raises(ConfigurationError, match="no such task: 'learn'; there are prepare, train"):
        find_task("learn")


def test_all_faults_are_told_at_their_keys(engine: EngineSettings) -> None:
    with pytest.raises(RefusedError, match="2 faults in the settings of train") as caught:
        submitted(engine, "train", dataset=["x"], worker=2)
    assert [key for key, _ in caught.value.faults] == ["dataset", "worker"]
    with pytest.raises(RefusedError, match=r"training\.epoch: unknown key; did you mean epochs") as caught:
        submitted(engine, "train", settings=["training.epoch=3", "training.seed=-1"])
    assert [key for key, _ in caught.value.faults] == ["training.seed", "training.epoch"]
    (engine.work_root / "scans").mkdir()
    with pytest.raises(ConfigurationError, match=r"training\.epochs=3: 'prepare' takes preparation"):
        submitted(engine, "prepare", source="scans", settings=["training.epochs=3"])


def test_what_is_missing_is_named(engine: EngineSettings) -> None:
    with pytest.raises(RefusedError, match=r"dataset: .*gone is not there") as caught:
        submitted(engine, "train", dataset="gone")
    assert caught.value.faults == (("dataset", f"{engine.work_root / 'gone'} is not there"),)
    with pytest.raises(RefusedError, match=r"prediction: .* is not there; reference: .* is not there"):
        submitted(engine, "evaluate", prediction="a", reference="b")


def test_a_submission_is_checked_and_nothing_is_queued(quiet: Bench) -> None:
    settings = {"journal": str(quiet.journal), "workers": 3}
    checked = quiet.engine.check(Submission(task=small_tasks.NAME, settings=settings))
    assert checked.workers == 3
    with pytest.raises(RefusedError) as caught:
        quiet.engine.check(Submission(task=small_tasks.NAME, settings={**settings, "workers": "many"}))
    assert [key for key, _ in caught.value.faults] == ["workers"]
    with pytest.raises(RefusedError, match="after: there is no job 7"):
        quiet.engine.check(Submission(task=small_tasks.NAME, settings=settings, after=(7,)))
    assert quiet.engine.list().total == 0
    assert not any((quiet.settings.work_root / "jobs").iterdir())
    assert quiet.submit().id == 1, "no number was used up"


def test_after_others_what_it_reads_is_still_to_come(quiet: Bench) -> None:
    first = quiet.submit(word="first").id
    settings = {"dataset": "soon", "settings": ["training.epochs=1"]}
    job = quiet.engine.submit(Submission(task="train", settings=settings, after=(first,)))
    assert (job.state, job.after) == ("queued", (first,))
    shown = quiet.engine.show(job.id)
    assert shown.settings["dataset"] == str(quiet.settings.work_root / "soon")
    assert shown.settings["run_dir"] == job.output == f"{shown.folder}/output"
    with pytest.raises(RefusedError, match="after: there is no job 99"):
        quiet.submit(after=(99,))


@pytest.mark.slow
def test_a_training_is_checked_whole(engine: EngineSettings, data: Path) -> None:
    with pytest.raises(R2D2Error, match=r"more workers than training slices: 500 workers.*use at most"):
        submitted(engine, "train", dataset=str(data / "liver"), workers=500)
    with pytest.raises(R2D2Error, match=r"more workers than slices in a step: 3 workers.*use at most 2"):
        submitted(engine, "train", dataset=str(data / "liver"), workers=3, settings=["training.global_batch_size=2"])
    many = whole_cores() + 1
    content = submitted(engine, "train", dataset=str(data / "liver"), workers=many)
    assert content["workers"] == many
    assert f"{many} workers share {many - 1} cores" in str(content["warnings"])
    assert not (engine.work_root / "jobs").exists(), "a check writes nothing"
    with pytest.raises(RefusedError, match="asks for 3 workers, and all jobs of this engine have 2 together"):
        submitted(engine.model_copy(update={"max_workers": 2}), "train", dataset=str(data / "liver"), workers=3)


@pytest.mark.slow
def test_folders_outside_are_refused_wherever_they_are_named(tmp_path: Path, data: Path) -> None:
    work, secret = tmp_path / "work", tmp_path / "secret"
    for folder in (work, secret, tmp_path / "data"):
        folder.mkdir()
    (work / "link").symlink_to(secret)
    engine = EngineSettings(work_root=work, data_roots=(data,))
    for outside in (
        {"dataset": str(secret)},
        {"dataset": "../secret"},
        {"dataset": "link"},
        {"dataset": str(data / "liver"), "run_dir": str(secret / "run")},
        {"dataset": str(data / "liver"), "settings": [f"transfer.start_from={secret}"]},
        {
            "dataset": str(data / "liver"),
            "settings": ["network.architecture=imported", "network.file=../secret/a.onnx"],
        },
        {"dataset": str(data / "liver"), "config": str(secret / "r2d2.yaml")},
    ):
        with pytest.raises(RefusedError, match="outside of the folders that jobs may use"):
            submitted(engine, "train", **outside)
    own = data / "liver" / "r2d2.yaml"
    own.write_text(f"dataset: .\ntransfer:\n  start_from: {secret}\n")  # found only when all settings are together
    try:
        with pytest.raises(RefusedError, match=f"outside .*{secret}"):
            submitted(engine, "train", dataset=str(data / "liver"))
    finally:
        own.unlink()
    assert submitted(engine, "train", dataset=str(data / "liver"))["roots"] == [str(work), str(data)]


def test_paths_are_found_and_placed_wherever_they_stand(tmp_path: Path) -> None:
    settings = PredictSettings(model=("runs/a", "zoo:liver", Path("/b")), inputs=("c",), out="/d")
    moved = placed(settings, tmp_path)
    assert moved.model == (tmp_path / "runs/a", "zoo:liver", Path("/b"))
    assert (moved.inputs, moved.out) == ((tmp_path / "c",), Path("/d"))
    assert set(paths_in(moved)) == {tmp_path / "runs/a", Path("/b"), tmp_path / "c", Path("/d")}
    words = ("transfer.start_from=/e", "network.architecture=unet", "training.seed=3")
    assert set(paths_in(TrainSettings(settings=words))) == {Path("/e")}
    check_roots([tmp_path / "x" / ".." / "y"], [tmp_path])
    with pytest.raises(RefusedError):
        check_roots([tmp_path / ".." / "y"], [tmp_path])


def test_words_are_settings_with_paths_of_the_folder_where_they_are_typed(tmp_path: Path) -> None:
    (tmp_path / "r2d2.yaml").write_text("training: {epochs: 2}\n")
    words = ["dataset=liver", "workers=2", "training.epochs=3", "transfer.start_from=runs/a"]
    assert settings_of_words(find_task("train"), words, tmp_path) == {
        "dataset": str(tmp_path / "liver"),
        "workers": 2,
        "config": str(tmp_path / "r2d2.yaml"),
        "settings": ["training.epochs=3", f"transfer.start_from={tmp_path / 'runs/a'}"],
    }
    compared = settings_of_words(find_task("compare"), ["evaluations=[a, b]", "metrics=dice"], tmp_path)
    assert compared == {"evaluations": [str(tmp_path / "a"), str(tmp_path / "b")], "metrics": ["dice"]}
    given = ["model=zoo:liver", "inputs=ct.nii.gz", "inference.probabilities=true"]
    predicted = settings_of_words(find_task("predict"), given, tmp_path)
    assert predicted["inference"] == {"probabilities": True}
    assert (predicted["model"], predicted["inputs"]) == ("zoo:liver", [str(tmp_path / "ct.nii.gz")])
    with pytest.raises(RefusedError, match=r"'predicton' is not key=value.*; datset: unknown key; evaluate has"):
        settings_of_words(find_task("evaluate"), ["predicton", "datset=x"], tmp_path)


def test_code_of_others_only_where_the_engine_was_told(quiet: Bench, engine: EngineSettings) -> None:
    for task in ("os:system", "tests.r2d2.engine.conftest:Bench", "train:x"):
        with pytest.raises(RefusedError, match="this engine was not started with"):
            submitted(engine, task)
    with pytest.raises(ConfigurationError, match="no such task"):
        quiet.submit(task=f"{small_tasks.__name__}:note")


def test_a_refused_job_leaves_nothing(quiet: Bench) -> None:
    with pytest.raises(RefusedError):
        quiet.submit(seconds="long")
    assert quiet.engine.list().total == 0
    assert list((quiet.settings.work_root / "jobs").iterdir()) == []


def test_a_refused_job_takes_no_number(quiet: Bench) -> None:
    for after in ((), (9,)):
        with pytest.raises(RefusedError):
            quiet.submit(seconds="long", after=after)
    assert [quiet.submit().id for _ in range(2)] == [1, 2]


def test_values_that_stand_for_too_much_are_refused(engine: EngineSettings) -> None:
    """Ten letters of YAML, each ten times the one before, are more than any memory holds."""
    parts = ["&a [x, x, x, x, x, x, x, x, x, x]"]
    parts += [
        f"&{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
    ]
    for value in (f"[{', '.join(parts)}]", "[" * 5000):
        with pytest.raises(RefusedError, match=r"settings: .*(written out|more than 32 deep)"):
            submitted(engine, "train", settings=[f"network.options={value}"])
