"""The recipes of examples/zoo: their own settings and commands, on generated scans in the layouts of their data."""

import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.inference.model_card import read_model_card
from imgmed import PreparedDataset
from imgmed.presets import read_preset
from r2d2.cli import app
from r2d2.cli.demo import SHIPPED, show_model
from r2d2.config import configure, read_layer
from segeval import read_evaluation
from tests.zoo_models import begin_empty

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "zoo"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/r2d2.yaml"))
SHAPE = (26, 22, 5)
TINY = ["network.depth=1", "network.base_filters=4", "training.epochs=8", "training.learning_rate=0.03"]
TINY += ["training.ema_momentum=null", "training.batch_size_per_worker=4", "training.reference_batch_size=4"]


def scan(number: int, intensities: tuple[float, ...], structures: int) -> tuple[np.ndarray, np.ndarray]:
    """A box in noise, in it a smaller one of another brightness, in that a third: image and label map."""
    generator = np.random.default_rng(number)
    labels = np.zeros(SHAPE, np.uint8)
    top, left = generator.integers(1, 5, 2)
    for value in range(1, structures + 1):
        inset = 2 * (value - 1)
        labels[top + inset : top + 16 - inset, left + inset : left + 14 - inset, 1:] = value
    image = np.take(np.array(intensities), labels) + generator.normal(0, 4, SHAPE)
    return image.astype(np.float32), labels


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 3.0, 1.0])), path)


def kits(folder: Path) -> None:
    for number in range(4):
        image, labels = scan(number, (-80, 60, 180, 20), 3)
        save(image, folder / f"case_{number:05}" / "imaging.nii.gz")
        save(labels, folder / f"case_{number:05}" / "segmentation.nii.gz")


def lits(folder: Path) -> None:
    for number in range(4):
        image, labels = scan(number, (-120, 100, 10), 2)
        save(image, folder / f"volume-{number}.nii")
        save(labels, folder / f"segmentation-{number}.nii")


def decathlon(folder: Path, channels: list[str], labels_named: list[str]) -> None:
    """Files of all channels, or of the only one, beside an index as the Medical Segmentation Decathlon has it."""
    training = []
    for number in range(4):
        image, labels = scan(number, (0, 100, 200, 300)[: len(labels_named) + 1], len(labels_named))
        stack = [image * (1 if channel == 0 else 0.5) for channel in range(len(channels))]
        save(np.stack(stack, axis=3) if len(channels) > 1 else image, folder / "imagesTr" / f"one_{number:03}.nii.gz")
        save(labels, folder / "labelsTr" / f"one_{number:03}.nii.gz")
        training.append({"image": f"./imagesTr/one_{number:03}.nii.gz", "label": f"./labelsTr/one_{number:03}.nii.gz"})
    named = {"0": "background", **{str(value): name for value, name in enumerate(labels_named, 1)}}
    index = {"modality": {str(n): name for n, name in enumerate(channels)}, "labels": named, "training": training}
    (folder / "dataset.json").write_text(json.dumps(index))


def brain(folder: Path) -> None:
    tumour = ["edema", "non-enhancing tumor", "enhancing tumour"]
    decathlon(folder, ["FLAIR", "T1w", "t1gd", "T2w"], tumour)


def commands_of(recipe: str, source: Path, work: Path, words: list[str]) -> list[list[str]]:
    """What the script of the recipes calls r2d2 with."""
    program = work / "bin" / "r2d2"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" '' >>'{work}/calls'\n")
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    script = ["sh", str(RECIPES / "recipe.sh"), recipe, str(source), str(work), *words]
    said = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stderr
    assert f"r2d2 zoo publish {work}/run" in said and f" --name {recipe} --half" in said
    return [call.split("\0") for call in (work / "calls").read_text().removesuffix("\0\0").split("\0\0")]


WRITERS = {"kidney-tumour-unet": kits, "liver-unet": lits, "brain-tumour-unet": brain}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder with source/ and work/ that a recipe leaves, its settings as they are but for a tiny network."""

    @cache
    def work_of(recipe: str) -> Path:
        folder = tmp_path_factory.mktemp(recipe)
        WRITERS[recipe](folder / "source")
        calls = commands_of(recipe, folder / "source", folder / "work", [*TINY, "augmentation.crop_size=null"])
        assert [call[0] for call in calls] == ["prepare", "train", "choose-rules", "predict", "evaluate"]
        for call in [*calls[:-1], [*calls[-1], "--no-report"]]:
            assert CliRunner().invoke(app, call, catch_exceptions=False).exit_code == 0
        return folder

    return work_of


@pytest.mark.end_to_end
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("recipe", "channels", "scored"),
    [
        ("kidney-tumour-unet", 1, ["kidney_and_masses", "masses"]),
        ("liver-unet", 1, ["whole_liver"]),
        ("brain-tumour-unet", 4, ["whole_tumour", "tumour_core", "enhancing_tumour"]),
    ],
)
def test_the_papers_pathologies(recipe: str, channels: int, scored: list[str], worked: Callable[[str], Path]) -> None:
    work = worked(recipe) / "work"
    dataset, (_, card) = PreparedDataset.read(work / "dataset"), read_model_card(work / "run")
    assert dataset.description.settings == configure(read_layer(RECIPES / recipe / "r2d2.yaml")).preparation
    assert len(card.channels) == channels and list(dataset.description.regions or ()) == scored
    trained = {case.case_id for case in card.cases if case.split != "test"}
    evaluation = read_evaluation(work / "evaluation")
    judged = {case.case_id for case in evaluation.cases}
    assert judged == set(dataset.splits.test) and judged and not judged & trained
    assert set(scored) <= set(evaluation.means["dice"])
    assert evaluation.means["dice"][scored[0]].mean > 0.8, "the whole structure is plain to see"


@pytest.mark.end_to_end
@pytest.mark.tensorflow
def test_the_demo_ends_with_a_model_on_a_scan_it_has_not_seen(
    worked: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a tiny one, published under the name of the shipped one, with its card."""
    done = worked("brain-tumour-unet")
    begin_empty(tmp_path, monkeypatch)
    card = RECIPES / "hippocampus-unet" / "card.yaml"
    published = ["zoo", "publish", str(done / "work/run"), "--name", "hippocampus-unet", "--description", str(card)]
    assert CliRunner().invoke(app, published, catch_exceptions=False).exit_code == 0
    capfd.readouterr()
    show_model("zoo:no-such-model", done / "source", tmp_path / "none")
    show_model(SHIPPED, tmp_path, tmp_path / "none")
    left_out, not_at_hand = capfd.readouterr().err.splitlines()
    assert left_out.startswith("left out: ") and "no-such-model" in left_out
    assert "with one of yours: r2d2 predict --model zoo:hippocampus-unet" in not_at_hand
    assert not (tmp_path / "none").exists()
    show_model(SHIPPED, done / "source", tmp_path / "shown")
    (unseen,) = PreparedDataset.read(done / "work/dataset").splits.test
    assert f"{unseen}.nii.gz with both outlines" in capfd.readouterr().err
    shown, before = (read_evaluation(folder) for folder in (tmp_path / "shown/evaluation", done / "work/evaluation"))
    assert shown.labels.keys() == {"oedema", "non_enhancing_tumour", "enhancing_tumour"}
    same = "enhancing_tumour"  # a label, and a region of that label alone
    assert shown.means["dice"][same].mean == before.means["dice"][same].mean


def test_networks_that_are_asked_together_are_prepared_trained_and_finished_one_by_one(tmp_path: Path) -> None:
    calls = commands_of("hippocampus-unet", tmp_path / "Task04 with a space", tmp_path / "work", ["training.seed=2"])
    assert [call[0] for call in calls] == [*["prepare", "train", "prepare", "train"] * 3, "predict", "evaluate"]
    source, settings = str(tmp_path / "Task04 with a space"), RECIPES / "hippocampus-unet"
    for axis in range(3):
        prepare, train, prepare_all, train_longer = calls[4 * axis : 4 * axis + 4]
        dataset, run, all_of_it, longer = (
            str(tmp_path / "work" / f"{name}-{axis + 1}") for name in ("dataset", "run", "dataset-finish", "run-finish")
        )
        first, finish = (["--config", str(settings / name)] for name in ("r2d2.yaml", "finish.yaml"))
        assert prepare == ["prepare", source, *first, "--out", dataset, f"preparation.slice_axis={axis}"]
        assert train[1:] == [*first, "--dataset", dataset, "--run-dir", run, "training.seed=2"]
        assert prepare_all == ["prepare", source, *finish, "--out", all_of_it, f"preparation.slice_axis={axis}"]
        assert train_longer[1:5] == [*finish, "--dataset", all_of_it]
        assert train_longer[5:] == ["--run-dir", longer, f"transfer.start_from={run}"]
    models = [word for n in (1, 2, 3) for word in ("--model", str(tmp_path / "work" / f"run-finish-{n}"))]
    views = [word for degrees in (-4, 4, -8, 8, -12, 12, -16, 16) for word in ("--rotate", str(degrees))]
    assert calls[-2][1:-4] == [*models, *views, "--dataset", str(tmp_path / "work" / "dataset-1")]


def test_recipes_are_settings_that_stand() -> None:
    assert len(NAMES) == 7 and {path.name for path in RECIPES.iterdir()} == {*NAMES, "recipe.sh"}
    layers = {name: read_layer(RECIPES / name / "r2d2.yaml") for name in NAMES}
    assert all(configure(layer).training.seed == 1 for layer in layers.values())
    published = read_preset("kits23")["preparation"]
    assert published.items() <= layers["kidney-tumour-unet"]["preparation"].items()


def test_a_recipe_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    script = ["sh", str(RECIPES / "recipe.sh"), "spleen-unet", str(tmp_path)]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage:") and done.stderr.count("\n") == 1
    assert all(name in done.stderr for name in NAMES) and not list(tmp_path.iterdir())
