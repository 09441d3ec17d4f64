"""A published model of several networks that are asked together."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.inference.model_card import ViewSettings, read_model_card
from imgmed import PreparedDataset
from r2d2.cli import app
from r2d2.errors import NamesFoundError, ZooError
from r2d2.prediction.model import resolve_ensemble
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.prediction import PredictSettings, predict
from r2d2.tasks.zoo import PullSettings, pull, show_model, verify_models
from r2d2.zoo.card.description import read_description
from r2d2.zoo.publishing.publish import PublishSettings, publish_model
from r2d2.zoo.registries.published import faults_of
from r2d2.zoo.registries.resolution import resolve
from tests.r2d2.zoo.publishing.trained_run import PEOPLE, evaluate_split, prepare_study, write_run, write_words
from tests.zoo_models import begin_empty

pytestmark = pytest.mark.tensorflow

RANGE = {"name": "slices", "unit": "", "low": 1, "high": 99}
FAMILIAR = {"ranges": [RANGE], "patients": 9, "expected_rate": 0.0625, "held_out": 0, "alarms": 0}
FILES = {"LICENSE", "card.html", "card.json", "card.md", "files.json", "model.json", "model.keras"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def dataset(place: Path) -> PreparedDataset:
    return prepare_study(place)


def with_card(run: Path, **changes: object) -> Path:
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, **changes}))
    return run


@pytest.fixture(scope="module")
def runs(dataset: PreparedDataset, place: Path) -> tuple[Path, Path]:
    """Two networks, the second for slices across another axis; both judge alike which scans are unlike."""
    first, second = (write_run(dataset, place / name, seed).path for name, seed in (("one", 2), ("two", 3)))
    card = json.loads((second / "model.json").read_text())
    preparation, network = {**card["scan_preparation"], "slice_axis": 0}, {**card["network"], "dropout": 0.375}
    changes = {"scan_preparation": preparation, "network": network, "validation_dice": 0.625}
    return with_card(first, familiarity=FAMILIAR), with_card(second, familiarity=FAMILIAR, **changes)


@pytest.fixture(scope="module")
def evaluation(runs: tuple[Path, Path], dataset: PreparedDataset, place: Path) -> Path:
    return evaluate_split(runs, dataset, "test", place / "test", rotations_degrees=(-30, 30, 0))


@pytest.fixture(scope="module")
def published(runs: tuple[Path, Path], evaluation: Path, place: Path) -> Path:
    wishes = PublishSettings(
        description=write_words(place), evaluation=evaluation, name="noise:1", together_with=runs[1:]
    )
    return publish_model(runs[0], place / "published", wishes).folder


def test_all_networks_lie_in_its_folder_and_are_asked_together(
    published: Path, runs: tuple[Path, Path], dataset: PreparedDataset, place: Path, tmp_path: Path
) -> None:
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert files == FILES | {"members/2/model.json", "members/2/model.keras"}
    assert faults_of(published) == []
    assert resolve_ensemble(published) == (published, published / "members/2")
    predict(PredictSettings(model=published, dataset=dataset.folder, out=tmp_path / "out"))
    for case in dataset.splits.test:
        ours, theirs = (
            nib.load(folder / f"{case}.nii.gz").get_fdata() for folder in (tmp_path / "out", place / "test/predictions")
        )
        np.testing.assert_array_equal(ours, theirs)
    alone = predict(PredictSettings(model=published / "members/2", inputs=(place / "study",), out=tmp_path / "alone"))
    assert (
        not alone.manifest.ensemble
        and alone.manifest.model_sha256 == read_model_card(published / "members/2")[1].model_sha256
    )


def test_it_sees_slices_as_they_were_seen_when_it_was_measured(
    published: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    for folder in (published, published / "members/2"):
        assert read_model_card(folder)[1].views == ViewSettings(rotations_degrees=(-30, 30))
    said = {}
    for name, degrees, seen in (("own", None, (-30, 30)), ("named", (-30, 30), (-30, 30)), ("none", (0,), None)):
        inference = InferenceSettings(rotations_degrees=degrees, probabilities=True)
        done = predict(
            PredictSettings(model=published, dataset=dataset.folder, out=tmp_path / name, inference=inference)
        )
        assert done.manifest.inference.rotations_degrees == seen
        maps = sorted((tmp_path / name / "probabilities/label_1").iterdir())
        said[name] = np.stack([nib.load(path).get_fdata() for path in maps])
    np.testing.assert_array_equal(said["own"], said["named"])
    assert said["own"].any() and not np.array_equal(said["own"], said["none"])
    text = (published / "card.md").read_text()
    assert "The label map is the mean of what it says of each slice as it is and turned by -30 and 30 degrees." in text


def test_its_card_speaks_of_all_of_them(published: Path, runs: tuple[Path, Path]) -> None:
    said = read_description(published)
    (further,) = said.further
    assert further.weights_sha256 == read_model_card(published / "members/2")[1].model_sha256
    assert (further.slice_axis, further.epoch, further.validation_dice) == (0, 2, 0.625)
    assert said.scores is not None and said.scores.split == "test" and said.scores.cases == 2
    page, text = ((published / name).read_text() for name in ("card.html", "card.md"))
    for part in ("2, asked together: the mean of their probabilities decides", "Dice of 0.500 and 0.625"):
        assert part in page and part in text
    assert "foot to head (axial slices) and left to right (sagittal slices)" in text
    assert text.count("dropout 0.375") == 1 and "at most 6.2 % are warned of for nothing" in text
    assert "Network 2" in text and f"weights of epoch 2; SHA-256 {further.weights_sha256}" in text


def test_nobody_is_named_in_any_of_them(published: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    for path in published.rglob("*"):
        content = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        assert not [name for name in PEOPLE if name in content]
    salts = {case.hash_salt for folder in resolve_ensemble(published) for case in read_model_card(folder)[1].cases}
    assert len(salts) == 1 and "" not in salts
    named = shutil.copytree(runs[1], tmp_path / "named")
    preparation = json.loads((named / "model.json").read_text())["scan_preparation"]
    with_card(named, series="Fawkes_Guy", scan_preparation=preparation)
    wishes = PublishSettings(description=write_words(tmp_path), together_with=(named,))
    with pytest.raises(NamesFoundError, match=r"members/2/model\.json has a name of a patient"):
        publish_model(runs[0], tmp_path / "out", wishes)


def test_what_may_not_be_published_together(
    runs: tuple[Path, Path], evaluation: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    words, (first, second) = write_words(tmp_path), runs

    def refusal(run: Path, *others: Path, **wishes: object) -> str:
        with pytest.raises(ZooError) as caught:
            publish_model(run, tmp_path / "out", PublishSettings(description=words, together_with=others, **wishes))
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "made by 2 networks together, not by this one alone" in refusal(first, evaluation=evaluation)
    assert "a network is named twice" in refusal(first, first)
    third = write_run(dataset, tmp_path / "third", seed=4).path
    assert "made by 2 networks together, not by these 3" in refusal(first, second, third, evaluation=evaluation)
    assert "were made by another model (SHA-256" in refusal(first, third, evaluation=evaluation)
    alone = evaluate_split(first, dataset, "test", tmp_path / "alone")
    assert "made by one network, not by these 2 together" in refusal(first, second, evaluation=alone)
    of_others = with_card(shutil.copytree(third, tmp_path / "others"), labels={"background": 0, "x": 1, "y": 2})
    assert "must agree on labels and channels" in refusal(first, of_others)
    network = {"architecture": "custom", "build": "mine:build"}
    assert f"{third}: its card names code, mine:build" in refusal(first, with_card(third, network=network))


def test_it_is_published_fetched_and_checked_as_a_whole(
    runs: tuple[Path, Path], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_empty(tmp_path, monkeypatch)
    command = [
        "zoo",
        "publish",
        str(runs[0]),
        "--with",
        str(runs[1]),
        "--name",
        "noise",
        "--to",
        str(tmp_path / "shelf"),
    ]
    command += ["--description", str(write_words(tmp_path))]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    alone = [word for word in command if word not in ("--with", str(runs[1]))]  # other weights than both together
    refused = [isinstance(CliRunner().invoke(app, words).exception, ZooError) for words in (alone, alone, command)]
    assert refused == [False, True, True]
    folder = pull(PullSettings(model=tmp_path / "shelf/noise/1")).folder
    assert resolve_ensemble("zoo:noise") == (folder, folder / "members/2")
    assert "2, asked together" in show_model("noise").card
    second = folder / "members/2/model.json"
    second.write_text(second.read_text().replace('"epoch": 2', '"epoch": 3'))
    assert [one.faults for one in verify_models("noise")] == [("members/2/model.json was changed",)]
    card = json.loads(second.read_text())
    second.write_text(json.dumps({**card, "network": {"architecture": "custom", "build": "mine:build"}}))
    with pytest.raises(ZooError, match="names code that would run, mine:build"):
        resolve("zoo:noise")
