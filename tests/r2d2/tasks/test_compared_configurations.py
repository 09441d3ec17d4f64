"""r2d2 choose before anything is trained: what is understood, filled in, and refused in one line."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from imgmed.dataset import write_description
from r2d2.cli import app
from r2d2.tasks.choice_folder import begin, begun_configurations
from r2d2.tasks.compared_configurations import AskedConfiguration, asked_configurations, candidates_among, resolved
from r2d2_base.errors import ConfigurationError, R2D2Error
from r2d2_base.folders import locked_folder

TWO = ("2d: network.base_filters=4", "wide: network.base_filters=8")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    write_phantom_study(folder / "study", cases=7, shape=(32, 32, 8))
    settings = PreparationSettings(folds=2)
    prepare_dataset(folder / "study", folder / "dataset", settings)
    prepare_dataset(folder / "study", folder / "dataset25", settings.model_copy(update={"neighbours": 1}))
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(study: Path, *words: object, out: Path | None = None, dataset: str = "dataset") -> str:
    """The one line that a command is refused with, after which nothing is left."""
    folder = out or Path("choice")
    had = sorted(folder.rglob("*")) if folder.exists() else None
    options = ["--dataset", str(study / dataset), "--out", str(folder)]
    result = CliRunner().invoke(app, ["choose", *map(str, words), *options])
    assert isinstance(result.exception, R2D2Error), result.output
    assert result.exception.exit_code == 2
    assert (sorted(folder.rglob("*")) if folder.exists() else None) == had
    said = str(result.exception)
    assert "\n" not in said
    return said


def test_files_names_and_words_are_told_apart() -> None:
    asked = asked_configurations(
        [Path("runs/2.5d.yaml")], ["3d: network.dimensions=3 training.patch_size=[4,8,8]", "2d:"]
    )
    assert asked == (
        AskedConfiguration("2.5d", Path("runs/2.5d.yaml")),
        AskedConfiguration("3d", None, ("network.dimensions=3", "training.patch_size=[4,8,8]")),
        AskedConfiguration("2d"),
    )


def test_a_configuration_is_filled_in_as_a_training_would(study: Path, tmp_path: Path) -> None:
    """Words for all count more than a file; a file may name a dataset of its own, relative to itself."""
    file = tmp_path / "25d.yaml"
    file.write_text(yaml.safe_dump({"dataset": str(study / "dataset25"), "training": {"epochs": 3, "momentum": 0.5}}))
    one = resolved(AskedConfiguration("25d", file), study / "dataset", ["training.epochs=2"])
    assert one.dataset.scan_preparation.neighbours == 1
    assert (one.configuration.training.epochs, one.configuration.training.momentum) == (2, 0.5)
    assert (one.configuration.fold, one.configuration.run_dir) == (None, None)
    other = resolved(
        AskedConfiguration("2d", None, ("training.momentum=0.5",)), study / "dataset", ["training.epochs=2"]
    )
    assert other.dataset.scan_preparation.neighbours == 0


def test_slices_with_and_without_neighbours_are_compared_on_datasets_of_one_study(study: Path, tmp_path: Path) -> None:
    asked = asked_configurations([], ["2d:", f"25d: dataset={study / 'dataset25'}"])
    found = begun_configurations(asked, study / "dataset", ["training.epochs=2"], tmp_path / "choice")
    assert [one.dataset.scan_preparation.neighbours for one in found] == [0, 1]
    assert [one.name for one in candidates_among(found, with_pairs=True)] == ["2d", "25d", "2d+25d"]


def test_what_is_no_choice_is_refused_in_a_line(study: Path) -> None:
    assert "needs at least two configurations; received 1" in refused(study, "2d:")
    assert "needs at least two configurations; received 0" in refused(study, "training.epochs=2")
    assert "two configurations are called 2d" in refused(study, "2d: network.base_filters=4", "2d:")
    assert "'a b' is no configuration; give a YAML file, or a name" in refused(study, "a b", "2d:")
    assert "'../x' is no name" in refused(study, "../x: network.base_filters=4", "2d:")
    assert "2d and 3d have the same settings" in refused(study, "2d:", "3d:")
    assert "no such configuration file: none.yaml" in refused(study, "none.yaml", "2d:")
    assert "wide: 1 fault in the configuration" in refused(study, "2d:", "wide: network.filters=8")
    assert "metric must be one of dice" in refused(study, *TWO, "--metric", "beauty")
    assert "confidence" in refused(study, *TWO, "--confidence", "95")


def test_another_budget_or_seed_is_refused(study: Path) -> None:
    said = refused(study, "2d: training.epochs=3", "wide: network.base_filters=8 training.epochs=4")
    assert "training.epochs is 3 in 2d and 4 in wide; a fair choice gives all the same: add training.epochs=3" in said
    assert "training.seed is 1 in 2d and 0 in wide" in refused(study, "2d: training.seed=1", "wide:")
    said = refused(study, "2d: training.max_minutes=2", "wide: network.base_filters=8")
    assert "training.max_minutes is 2.0 in 2d and null in wide" in said
    said = refused(study, "2d: training.epochs=3", "wide:", "training.epochs=3")
    assert "2d: training.epochs is given for it and for all" in said
    assert "2d: fold is of each training" in refused(study, "2d: fold=1", "wide:")


def test_datasets_that_do_not_belong_together_are_refused(study: Path, tmp_path: Path) -> None:
    pair = ("2d:", f"other: dataset={tmp_path / 'other'}")
    dataset = PreparedDataset.read(study / "dataset")
    with_two_folds = PreparationSettings(folds=2)
    prepare_dataset(study / "study", tmp_path / "other", with_two_folds.model_copy(update={"seed": 5}))
    assert "their folds, or their test cases, are others; prepare both from one source" in refused(study, *pair)
    shutil.copytree(study / "study", tmp_path / "brighter")
    case = dataset.splits.folds[0].validation[0]
    scan = tmp_path / "brighter" / "imagesTr" / f"{case}.nii.gz"
    volume = nib.load(scan)
    nib.save(nib.Nifti1Image(np.asarray(volume.dataobj) + 1, volume.affine), scan)
    prepare_dataset(tmp_path / "brighter", tmp_path / "elsewhere", with_two_folds)
    said = refused(study, "2d:", f"other: dataset={tmp_path / 'elsewhere'}")
    assert f"scans, label maps or patients differ, such as those of {case};" in said
    prepare_dataset(study / "study", tmp_path / "three", PreparationSettings(folds=3))
    assert "they have 2 and 3 folds" in refused(study, "2d:", f"other: dataset={tmp_path / 'three'}")


def test_a_dataset_without_folds_is_refused(study: Path, tmp_path: Path) -> None:
    dataset = prepare_dataset(study / "study", tmp_path / "plain", PreparationSettings(folds=2))
    write_description(
        dataset.folder,
        dataset.description,
        dataset.cases.values(),
        dataset.splits.model_copy(update={"folds": ()}),
    )
    said = refused(study, *TWO, dataset=str(tmp_path / "plain"))
    assert "has no folds; prepare it again, with preparation.folds=5" in said


def test_what_could_not_be_trained_is_refused_before_the_first_training(study: Path) -> None:
    said = refused(study, "2d:", "3d: training.patch_size=[4,16,16]")
    assert "3d: training.patch_size is of networks of volumes" in said
    said = refused(study, "2d:", f"volumes: network.dimensions=3 dataset={study / 'dataset25'}")
    assert "volumes: network.dimensions=3 takes volumes" in said


def test_a_folder_with_something_else_is_refused(study: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    said = refused(study, *TWO, out=tmp_path / "full")
    assert "is not empty, and no choice was begun there; give another --out" in said


def test_what_was_begun_is_as_it_was_and_nothing_else_in_its_place(study: Path, tmp_path: Path) -> None:
    """What is proposed now does not matter; another setting of the same name does; a further name may come."""
    out, dataset = tmp_path / "choice", study / "dataset"
    file = tmp_path / "wide.yaml"
    file.write_text("network: {base_filters: 8}")
    words = [f"training.epochs={epochs}" for epochs in (2, 3)]

    def given(variants: list[str], settings: str) -> tuple:
        return asked_configurations([file], variants), dataset, [settings], out

    first = begun_configurations(*given(["2d: network.base_filters=4"], words[0]))
    begin(first, *given(["2d: network.base_filters=4"], words[0]))
    file.write_text("network: {base_filters: 8}  # the same")
    again = begun_configurations(*given(["2d: network.base_filters=4"], words[0]))
    assert [one.configuration for one in again] == [one.configuration for one in first]

    with pytest.raises(ConfigurationError, match=r"wide was begun in .* with other settings \(settings for all\)"):
        begun_configurations(*given(["2d: network.base_filters=4"], words[1]))
    with pytest.raises(ConfigurationError, match=r"2d was begun in .* with other settings \(words\)"):
        begun_configurations(*given(["2d: network.base_filters=2"], words[0]))
    file.write_text("network: {base_filters: 6}")
    with pytest.raises(ConfigurationError, match=r"wide was begun in .* with other settings \(file\)"):
        begun_configurations(*given(["2d: network.base_filters=4"], words[0]))
    file.write_text("network: {base_filters: 8}")
    more = begun_configurations(*given(["2d: network.base_filters=4", "tiny: network.base_filters=2"], words[0]))
    assert [one.name for one in more] == ["wide", "2d", "tiny"]

    (out / "asked.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"asked.json is damaged; give another --out"):
        begun_configurations(*given(["2d: network.base_filters=4"], words[0]))


def test_a_dataset_that_was_extended_meanwhile_is_refused(study: Path, tmp_path: Path) -> None:
    """Its folds are others, so the folds that are trained would not pair with those to come."""
    source, out = write_phantom_study(tmp_path / "study", cases=6, shape=(32, 32, 8)), tmp_path / "choice"
    dataset = prepare_dataset(source, tmp_path / "dataset", PreparationSettings(folds=2))
    given = asked_configurations([], TWO), dataset.folder, [], out
    begin(begun_configurations(*given), *given)
    splits = tmp_path / "dataset" / "splits.json"
    splits.write_text(splits.read_text() + "\n")
    with pytest.raises(ConfigurationError, match="has other cases or folds than when"):
        begun_configurations(*given)


def test_a_folder_that_another_process_fills_is_left_alone(study: Path, tmp_path: Path) -> None:
    (tmp_path / "choice").mkdir()
    with locked_folder(tmp_path / "choice", Path("choice")):
        assert "is being written by another process" in refused(study, *TWO, out=tmp_path / "choice")


def test_networks_that_answer_other_questions_are_not_asked_together(study: Path, tmp_path: Path) -> None:
    asked = [AskedConfiguration(name, None, (f"training.seed={name == 'b':d}",)) for name in "ab"]
    found = [resolved(one, study / "dataset", []) for one in asked]
    training = found[1].configuration.training.model_copy(update={"region_outputs": True})
    configuration = found[1].configuration.model_copy(update={"training": training})
    other = type(found[1])("b", configuration, found[1].dataset)
    with pytest.raises(ConfigurationError, match=r"a and b have other outputs .*leave out --ensembles"):
        candidates_among([found[0], other], with_pairs=True)
    assert len(candidates_among([found[0], other], with_pairs=False)) == 2
