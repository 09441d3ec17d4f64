"""The fingerprint on real studies: what is known to be odd is named, and hardly more."""

from pathlib import Path

import numpy as np
import pytest

from imgmed.fingerprint import Fingerprint, build_fingerprint
from imgmed.fingerprint.measures import CaseMeasures, measure_case
from imgmed.preparation.reading import ReadingRules, read_case_image, read_case_label
from imgmed.recipes import read_study
from imgmed.splits import Splits
from imgmed.volume import Volume

pytestmark = pytest.mark.real_data


def measured(folder: Path, labels: dict[str, int]) -> dict[str, CaseMeasures]:
    measures = {}
    for source in read_study(folder, "auto").sources:
        image = read_case_image(source, ReadingRules())
        measures[source.case_id] = measure_case(
            image, read_case_label(source.label, image, ReadingRules()).label_map, labels
        )
    return measures


def fingerprint(measures: dict[str, CaseMeasures], channels: tuple[str, ...], labels: dict[str, int]) -> Fingerprint:
    splits = Splits(train=tuple(measures), validation=(), test=(), folds=())
    return build_fingerprint(measures, channels=channels, labels=labels, splits=splits)


@pytest.fixture(scope="module")
def hippocampus(real_data: Path) -> dict[str, CaseMeasures]:
    return measured(real_data / "hippocampus_msd", {"Anterior": 1, "Posterior": 2})


def test_the_bright_hippocampi_are_named_and_nothing_else(hippocampus):
    """Case maxima lie from under 300 to 1.7 million: 26 cases are above 100,000, and none between 10,000 and that."""
    maxima = {case_id: case.channels[0].maximum for case_id, case in hippocampus.items()}
    bright = {case_id for case_id, maximum in maxima.items() if maximum > 1e5}
    assert len(bright) == 26 and sum(maximum > 1e4 for maximum in maxima.values()) == 26
    found = fingerprint(hippocampus, ("MRI",), {"Anterior": 1, "Posterior": 2})
    assert set(found.odd_cases) == bright
    assert {oddity.kind for oddity in found.odd} == {"intensity"}
    (remark,) = found.remarks
    assert "3 groups" in remark and "26 cases around" in remark and "132 cases around" in remark
    assert found.labels["Anterior"].volume_ml.median == pytest.approx(1.7, abs=0.1)


def test_cropped_hippocampi_show_no_air_and_few_labels_at_the_border(hippocampus):
    labels = [label for case in hippocampus.values() for label in case.labels.values()]
    assert all(label.outside_body is None for label in labels)
    assert not any(label.border for label in labels)


def test_a_planted_fault_is_found_among_the_real_ones(hippocampus):
    case = hippocampus["hippocampus_001"]
    shrunk = case.labels["Anterior"].model_copy(update={"volume_ml": 0.1})
    labels = case.labels | {"Anterior": shrunk}
    faulty = case.model_copy(update={"canonical_spacing_mm": (1.0, 1.0, 10.0), "labels": labels})
    found = fingerprint(hippocampus | {"hippocampus_001": faulty}, ("MRI",), {"Anterior": 1, "Posterior": 2})
    assert {oddity.kind for oddity in found.odd_cases["hippocampus_001"]} == {"spacing", "label_volume"}
    assert len(found.odd_cases) == 27


@pytest.mark.parametrize("folder", ["heart_la_msd", "brain_brats2013_2ch"])
def test_labels_lie_in_the_body_and_a_shifted_one_does_not(real_data: Path, folder: str):
    source = read_study(real_data / folder, "auto").sources[0]
    image = read_case_image(source, ReadingRules())
    label = read_case_label(source.label, image, ReadingRules()).label_map > 0
    small = label[:, :, ::4].astype(np.uint8)
    thin = Volume(image.array[:, :, ::4], image.affine @ np.diag([1, 1, 4, 1.0]))
    place = measure_case(thin, small, {"structure": 1}).labels["structure"]
    assert place.outside_body == 0.0
    (left, right), (back, front), _ = place.box
    for shift in ((-left, -back), (-left, label.shape[1] - front), (label.shape[0] - right, label.shape[1] - front)):
        moved = measure_case(thin, np.roll(small, shift, axis=(0, 1)), {"structure": 1}).labels["structure"]
        assert moved.volume_ml == pytest.approx(place.volume_ml)
        assert len(moved.border) == 2
        assert moved.outside_body > 0.5  # into a corner of the image, where there is air


def test_four_hearts_are_too_few_to_have_an_odd_one(real_data: Path):
    found = fingerprint(measured(real_data / "heart_la_msd", {"left atrium": 1}), ("MRI",), {"left atrium": 1})
    assert found.odd == ()
    assert found.labels["left atrium"].outside_cases == 0
    assert found.orientations == {"RAS": 4}
