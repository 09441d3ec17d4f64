"""Pictures of sample predictions: upright, with the sides of the patient, labels where they are; why there are none."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from r2d2.errors import R2D2Error
from r2d2.reports.palette import LABEL_COLOURS, rgb
from r2d2.viewing.samples import LONGEST_PX, SampleLayer, sample_picture, why_no_samples

LABELS = {"background": 0, "organ": 3, "lesion": 300}


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


@pytest.fixture
def samples(tmp_path: Path) -> SampleFolder:
    """A grey slice of 8 x 4 pixels, twice as long along the width, and a photograph of 4 x 4."""
    grey = np.zeros((8, 4, 2), np.uint8)
    grey[:4, :, 0] = 200  # in the patient the left half, shown on the right, or for pictures at the right edge
    grey[..., 1] = 90
    photograph = np.zeros((4, 4, 3), np.uint8)
    photograph[:] = (10, 20, 30)
    described = (
        SampleSlice(case_id="a", number=4, of=9, pixel_mm=(1.0, 4.0)),
        SampleSlice(case_id="b", number=0, of=1, pixel_mm=(1.0, 1.0), is_picture=True),
    )
    reference = np.zeros((8, 4), np.uint16)
    reference[:4, :2] = 3
    folder = SampleFolder(tmp_path / "samples")
    description = SampleDescription(labels=LABELS, channels=("one", "two"), slices=described)
    folder.begin(SampleSlices(description, (grey, photograph), (reference, np.zeros((4, 4), np.uint8))), 0)
    prediction = np.full((8, 4), 300, np.uint16)
    folder.write_epoch(2, [prediction, np.full((4, 4), 3, np.uint8)], best=None)
    return folder


def test_a_scan_lies_as_it_is_looked_at(samples: SampleFolder) -> None:
    shown = opened(sample_picture(samples, 0, "scan"))
    assert shown.shape == (LONGEST_PX, LONGEST_PX // 2, 3)  # 8 mm wide and 16 mm high
    assert shown[:, -40:].min() == 200 and shown[:, :40].max() == 0
    assert (opened(sample_picture(samples, 0, "scan", channel=1)) == 90).all()
    assert (opened(sample_picture(samples, 1, "scan")) == (10, 20, 30)).all()


def test_label_maps_lie_over_it_in_the_colours_of_reports(samples: SampleFolder) -> None:
    scan, shown = opened(sample_picture(samples, 0, "scan")), opened(sample_picture(samples, 0, "reference"))
    organ, lesion = map(rgb, LABEL_COLOURS[:2])
    is_labelled = (shown != scan).any(axis=2)
    assert is_labelled[-160:, -80:].all() and is_labelled.sum() == 160 * 80  # columns 0 and 1 of the slice lie below
    assert (shown[-160, -79:] == organ).all() and (shown[-1, -70:] != organ).any(axis=1).all()
    inside = np.round(0.65 * 200 + 0.35 * np.array(organ))
    assert np.abs(shown[-60, -20] - inside).max() <= 1
    predicted = opened(sample_picture(samples, 0, "prediction", epoch=2))
    assert np.abs(predicted[40, -20] - np.round(0.65 * 200 + 0.35 * np.array(lesion))).max() <= 1


@pytest.mark.parametrize(
    ("place", "layer", "epoch", "channel"),
    [(2, "scan", 1, 0), (-1, "scan", 1, 0), (0, "scan", 1, 2), (0, "prediction", 1, 0), (0, "prediction", 3, 0)],
)
def test_what_there_is_not(samples: SampleFolder, place: int, layer: SampleLayer, epoch: int, channel: int) -> None:
    with pytest.raises(R2D2Error):
        sample_picture(samples, place, layer, epoch=epoch, channel=channel)


@pytest.mark.parametrize(
    ("config", "slices", "is_active", "said"),
    [
        (None, None, True, "They come with"),
        ("training: {sample_predictions: 3}", 7, True, "They come with"),
        ("training: {sample_predictions: 3}", 7, False, "no epoch has ended"),
        ("training: {sample_predictions: 0}", 7, True, "training.sample_predictions is 0"),
        ("training: {sample_predictions: 3}", 0, True, "nothing is left to validate on"),
        ("training: {epochs: 3}", 7, False, "before R2D2 kept them"),
        ("training: [", 7, False, "no epoch has ended"),
        ("training: null", 7, False, "no epoch has ended"),
    ],
)
def test_why_there_are_none(tmp_path: Path, config: str | None, slices: int | None, is_active: bool, said: str) -> None:
    file = None
    if config is not None:
        file = tmp_path / "config.yaml"
        file.write_text(config)
    assert said in why_no_samples(file, validation_slices=slices, is_active=is_active)
