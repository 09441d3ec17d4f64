"""Validation from shares of slices against SegEval on whole label maps."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.inference.outputs import NetworkOutputs
from dist_training.inputs.feed import SliceFeed
from dist_training.learning.validation import ValidationScore, validate, validate_volumes
from dist_training.ranks.communicator import SoloCommunicator
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from segeval import evaluate
from tests.dist_training.ranks.thread_ranks import ThreadCommunicator, on_ranks

LABELS = {"background": 0, "organ": 1, "lesion": 2, "vessel": 7}  # no phantom has a vessel


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("validation")
    write_phantom_study(folder / "study", cases=10, shape=(32, 40, 8))
    settings = PreparationSettings(validation_fraction=0.4, labels=LABELS)
    return prepare_dataset(folder / "study", folder / "dataset", settings)


def normalised(dataset: PreparedDataset, case_id: str) -> np.ndarray:
    image = np.asarray(dataset.image(case_id), np.float64)[..., 0]
    return (image - image.mean()) / image.std()


def in_widest_gap(dataset: PreparedDataset, low: float, high: float) -> float:
    """A threshold that rounding cannot move a pixel across."""
    values = np.concatenate([normalised(dataset, case_id).ravel() for case_id in dataset.splits.validation])
    values = np.sort(values[(values > low) & (values < high)])
    widest = np.diff(values).argmax()
    assert values[widest + 1] - values[widest] > 1e-4
    return float(values[widest : widest + 2].mean())


@pytest.fixture(scope="module")
def thresholds(dataset: PreparedDataset) -> list[float]:
    """The first lies below 0: the padding of a slice, 0, is predicted as organ, and must not count."""
    return [in_widest_gap(dataset, -0.5, -0.2), in_widest_gap(dataset, 1.0, 1.3)]


def run(
    dataset: PreparedDataset, thresholds: list[float], batch_size: int, case_ids: tuple[str, ...] | None = None
) -> ValidationScore | None:
    case_ids = dataset.splits.validation if case_ids is None else case_ids
    return validate(
        lambda images: np.digitize(images[..., 0], thresholds),
        SliceFeed(dataset, case_ids, dataset.splits.train),
        num_classes=len(dataset.class_values),
        batch_size=batch_size,
        communicator=SoloCommunicator(),
    )


def dice_of_whole_volumes(dataset: PreparedDataset, thresholds: list[float]) -> np.ndarray:
    """(cases, labels), from label maps put together again; NaN where a label is in neither."""
    rows = []
    for case_id in dataset.splits.validation:
        prediction = np.array([0, 1, 2, 7])[np.digitize(normalised(dataset, case_id), thresholds)]
        scores = evaluate(dataset.label_map(case_id), prediction, LABELS, spacing_mm=(3.0, 1.0, 1.0)).scores
        rows.append([score["dice"] for score in scores])
    return np.array(rows)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_the_score_is_that_of_whole_volumes(dataset: PreparedDataset, thresholds: list[float], batch_size: int) -> None:
    dice = dice_of_whole_volumes(dataset, thresholds)
    assert dice.shape == (4, 3)
    assert len({dataset.image(case_id).shape[1:] for case_id in dataset.splits.validation}) > 1
    assert 0.05 < dice[:, 0].mean() < 0.95
    score = run(dataset, thresholds, batch_size)
    assert score is not None
    np.testing.assert_allclose(score.dice_per_class[:2], dice[:, :2].mean(axis=0), rtol=1e-12)
    assert np.isnan(score.dice_per_class[2])
    assert score.dice == pytest.approx(dice[:, :2].mean(), rel=1e-12)


def test_batches_make_no_difference(dataset: PreparedDataset, thresholds: list[float]) -> None:
    scores = [run(dataset, thresholds, batch_size) for batch_size in (1, 3, 8, 1000)]
    assert len({score.dice for score in scores if score is not None}) == 1
    for score in scores:
        assert score is not None
        np.testing.assert_array_equal(score.dice_per_class, scores[0].dice_per_class)


def test_a_class_predicted_where_there_is_none_scores_0(dataset: PreparedDataset, thresholds: list[float]) -> None:
    score = run(dataset, [*thresholds, 1.5], batch_size=8)
    assert score is not None
    assert score.dice_per_class[2] == 0
    assert score.dice == pytest.approx(score.dice_per_class.mean(), rel=1e-12)


def test_a_case_without_a_class_is_left_out_of_its_mean(tmp_path: Path) -> None:
    """Of three cases one has a lesion, half of which is found: Dice 2 * 2 / (4 + 2), and no zero of the others'."""
    for part in ("images", "labels"):
        (tmp_path / "study" / part).mkdir(parents=True)
    for number, case in enumerate("abc"):
        labels = np.zeros((8, 8, 3), np.uint8)
        labels[:2, :2, number] = 1
        image = np.where(labels == 1, 20.0, 0.0).astype(np.float32)
        if case == "a":
            labels[4:6, 4:6, 2] = 2
            image[4, 4:6, 2] = 40.0
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"study/images/{case}.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"study/labels/{case}.nii.gz")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    # Normalised, 20 becomes 3.9 (a) and 6.8 (b, c), 40 becomes 8.0.
    score = run(dataset, [1.0, 7.4], 2, tuple(dataset.cases))
    assert score is not None
    np.testing.assert_allclose(score.dice_per_class, [1.0, 2 / 3], rtol=1e-12)


def test_regions_are_scored_as_the_unions_of_their_labels(dataset: PreparedDataset, thresholds: list[float]) -> None:
    table = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], bool)  # organ and lesion; lesion and vessel
    score = validate(
        lambda images: np.digitize(images[..., 0], thresholds),
        SliceFeed(dataset, dataset.splits.validation, dataset.splits.train),
        num_classes=4,
        regions=table,
        batch_size=5,
        communicator=SoloCommunicator(),
    )
    rows = []
    for case_id in dataset.splits.validation:
        prediction = np.digitize(normalised(dataset, case_id), thresholds)
        reference = np.searchsorted([0, 1, 2, 7], dataset.label_map(case_id))
        pairs = [(np.isin(reference, part), np.isin(prediction, part)) for part in ([1, 2], [2, 3])]
        rows.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
    assert score is not None
    np.testing.assert_allclose(score.dice_per_class, np.mean(rows, axis=0), rtol=1e-12)


def test_no_validation_slices_have_no_score(dataset: PreparedDataset, thresholds: list[float]) -> None:
    assert run(dataset, thresholds, 4, case_ids=()) is None


@pytest.mark.parametrize("window", [(3, 16, 24), (4, 64, 64), (16, 48, 64)])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_volumes_by_windows_have_the_same_score_on_any_number_of_workers(
    dataset: PreparedDataset, thresholds: list[float], window: tuple[int, int, int], world_size: int
) -> None:
    """A network that looks at single voxels says the same in every window: the score is that of whole volumes."""
    caught: dict[int, np.ndarray] = {}

    def network(images: np.ndarray) -> np.ndarray:
        assert images.shape[1:] == (*window, 1)
        return np.eye(4, dtype=np.float32)[np.digitize(images[..., 0], thresholds)]

    def work(job: ThreadCommunicator) -> ValidationScore | None:
        return validate_volumes(
            network,
            SliceFeed(dataset, dataset.splits.validation, dataset.splits.train),
            window,
            NetworkOutputs.of_classes(4),
            batch_size=3,
            communicator=job,
            on_predicted=caught.__setitem__,
        )

    dice = dice_of_whole_volumes(dataset, thresholds)
    for score in on_ranks(world_size, work):
        assert score is not None
        np.testing.assert_allclose(score.dice_per_class[:2], dice[:, :2].mean(axis=0), rtol=1e-12)
        assert np.isnan(score.dice_per_class[2])
    feed = SliceFeed(dataset, dataset.splits.validation, dataset.splits.train)
    assert sorted(caught) == list(range(len(feed)))
    assert {prediction.shape for prediction in caught.values()} == {feed.slice_size}
