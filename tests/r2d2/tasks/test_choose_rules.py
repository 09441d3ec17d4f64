"""r2d2 choose-rules from end to end: a network that finds what is bright, in scans with bright specks."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.architectures import CustomSettings, build_network
from dist_training.inference.model_card import read_model_card, save_model
from dist_training.inference.postprocessing import LargestComponent
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from imgmed.dataset import case_files
from r2d2.cli import app
from r2d2.prediction.rule_record import read_rule_choice
from r2d2.tasks.postprocessing import ChooseRulesSettings, choose_rules
from r2d2.tasks.prediction import PredictSettings, predict
from r2d2_base.errors import CancelledError, ConfigurationError
from r2d2_base.files import sha256_of
from r2d2_base.progress import StopRequest
from tests.small_network import SMALL

pytestmark = pytest.mark.tensorflow

CASES = 24


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """A bright block in the dark, and bright specks that are none of it; more of them in some scans."""
    folder = tmp_path_factory.mktemp("bright")
    for name in ("images", "labels"):
        (folder / "study" / name).mkdir(parents=True)
    for number in range(CASES):
        random = np.random.default_rng(number)
        labels = np.zeros((16, 18, 5), np.uint8)
        labels[3:10, 4:12, 1:4] = 1
        image = random.normal(0, 1, labels.shape) + 100.0 * labels
        image[13, 1 : 3 + 2 * (number % 6) : 2, 2] = 100.0
        for kind, array in (("images", image.astype(np.float32)), ("labels", labels)):
            nib.save(
                nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"study/{kind}/p{number:02}.nii.gz"
            )
    settings = PreparationSettings(labels={"background": 0, "block": 1}, validation_fraction=0.4, folds=2)
    return prepare_dataset(folder / "study", folder / "dataset", settings)


def save_threshold(dataset: PreparedDataset, run: Path) -> Path:
    """A network whose first filter is the image, and whose logit is above zero where that is bright."""
    network = CustomSettings(**SMALL)
    model = build_network(network, 1, 1, seed=0)
    kernel, bias, scale, offset, head, constant = (np.zeros_like(weights) for weights in model.get_weights())
    kernel[1, 1, 0, 0], scale[:], head[1, 1, 0, 0], constant[:] = 1.0, 1.0, 10.0, -15.0
    model.set_weights([kernel, bias, scale, offset, head, constant])
    RunFolder(run).create()
    save_model(
        model,
        RunFolder(run),
        network=network,
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
    )
    return run


def lose(dataset: PreparedDataset, case_ids: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """Put away everything of some cases but their names."""
    moved = []
    for case_id in case_ids:
        for path in case_files(dataset.folder, case_id, is_labelled=True):
            moved.append((path.rename(path.with_suffix(".gone")), path))
    return moved


def test_a_rule_that_helps_goes_into_the_card(dataset: PreparedDataset, tmp_path: Path) -> None:
    run = save_threshold(dataset, tmp_path / "run")
    weights = sha256_of(run / "model.keras")
    before = json.loads((run / "model.json").read_text())
    moved = lose(dataset, dataset.splits.test)  # they are not looked at
    try:
        words = ["choose-rules", "--model", str(run), "--dataset", str(dataset.folder)]
        result = CliRunner().invoke(app, words)
    finally:
        for gone, path in moved:
            gone.rename(path)
    assert result.exit_code == 0, result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    choice = read_rule_choice(run)
    assert choice is not None
    held_out = len(dataset.splits.validation)
    assert (choice.cases, choice.patients, choice.cases_from) == (held_out, held_out, "validation")
    assert choice.kept == (LargestComponent(label="block"),)
    assert choice.dice is not None and choice.dice_with_rules == pytest.approx(1.0)
    assert choice.dice < 0.99
    (tested,) = choice.tested  # sizes do the same, holes there are none
    assert tested.p_holm == tested.p == 2.0**-held_out
    assert "largest_component:block" in result.output
    assert "kept 1 rule" in result.output

    path, card = read_model_card(run)
    assert card.postprocessing == choice.kept
    assert sha256_of(path) == weights == card.model_sha256
    after = json.loads((run / "model.json").read_text())
    assert {**after, "postprocessing": []} == {**before, "postprocessing": []}

    predict(PredictSettings(model=run, dataset=dataset.folder, out=tmp_path / "out"))  # follows it
    made = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert len(made) == len(dataset.splits.test)
    for path in made:
        reference = nib.load(dataset.reference(path.name.removesuffix(".nii.gz")))
        np.testing.assert_array_equal(nib.load(path).get_fdata(), reference.get_fdata())


def test_networks_of_a_cross_validation_predict_what_they_have_not_seen(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    """All cases but the test's take part, once each; the networks then have the same rules."""
    folds = [save_threshold(dataset.with_fold(fold), tmp_path / f"cv/fold-{fold}") for fold in (0, 1)]
    told: list[tuple[str, int, int]] = []
    result = choose_rules(
        ChooseRulesSettings(model=tmp_path / "cv", dataset=dataset.folder),
        progress=lambda *news: told.append(news),
    )
    everyone = CASES - len(dataset.splits.test)
    assert (result.choice.cases, result.choice.cases_from) == (everyone, "out_of_fold")
    assert ("predicting", everyone, everyone) in told
    assert result.record == tmp_path / "cv" / "postprocessing.json"
    assert [read_model_card(run)[1].postprocessing for run in folds] == [(LargestComponent(label="block"),)] * 2


def test_with_few_patients_nothing_is_kept_and_the_reason_said(dataset: PreparedDataset, tmp_path: Path) -> None:
    few = dataset.splits.model_copy(update={"validation": dataset.splits.validation[:4]})
    run = save_threshold(PreparedDataset(dataset.folder, dataset.description, dataset.cases, few), tmp_path / "run")
    (run / "model.json").write_text((run / "model.json").read_text().replace("tests.small", "no.such"))
    choice = choose_rules(ChooseRulesSettings(model=run, dataset=dataset.folder)).choice
    assert choice.note == "too few patients (4) for any p below 0.05; 5 are needed"
    assert (choice.trials, choice.kept) == ((), ())


def test_what_cannot_be_chosen_by_is_refused(dataset: PreparedDataset, tmp_path: Path) -> None:
    run = save_threshold(dataset, tmp_path / "run")
    card = (run / "model.json").read_text()
    stop = StopRequest()
    stop.make("enough")
    with pytest.raises(CancelledError):
        choose_rules(ChooseRulesSettings(model=run, dataset=dataset.folder), stop=stop)

    content = json.loads(card)
    for case in content["cases"]:
        case["split"] = "train"
    (run / "model.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"has no validation case of .*run; give the dataset"):
        choose_rules(ChooseRulesSettings(model=run, dataset=dataset.folder))
    (run / "model.json").write_text(card.replace("block", "liver"))
    with pytest.raises(ConfigurationError, match="labels: model background, liver, dataset background, block"):
        choose_rules(ChooseRulesSettings(model=run, dataset=dataset.folder))
    (run / "model.json").write_text(card)
    (run / "files.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"run is a published model, which is never changed"):
        choose_rules(ChooseRulesSettings(model=run, dataset=dataset.folder))
    (run / "files.json").unlink()
    refused = CliRunner().invoke(
        app, ["choose-rules", "--model", str(run), "--dataset", str(dataset.folder), "--alpha", "2"]
    )
    assert isinstance(refused.exception, ConfigurationError)
    assert not (run / "postprocessing.json").exists()
