"""What `r2d2 predict` notes at its end."""

import pytest

from dist_training.inference.postprocessing import parse_rule
from r2d2.cli.predict import _in_pixels
from r2d2.prediction.manifest import PredictedCase, PredictionManifest
from r2d2.prediction.settings import InferenceSettings


@pytest.mark.parametrize(
    ("file", "rule", "notes"),
    [
        ("a.png", "minimum_size:cell:0.03", ["minimum_size:cell:0.03 keeps parts of 30 pixels"]),
        ("a.tif", "minimum_size:cell:0.0005", ["minimum_size:cell:0.0005 keeps parts of 0.5 pixels"]),
        ("a.png", "fill_holes:cell", []),
        ("a.nii.gz", "minimum_size:cell:0.03", []),
    ],
)
def test_a_size_in_millilitres_is_said_in_pixels_for_pictures(file: str, rule: str, notes: list[str]) -> None:
    case = PredictedCase(case_id="a", file=file, source="a", source_sha256=(), split=None)
    inference = InferenceSettings(rules=(parse_rule(rule),))
    labels = {"background": 0, "cell": 1}
    manifest = PredictionManifest(model="m", model_sha256="", inference=inference, labels=labels, cases=(case,))
    assert list(_in_pixels(manifest)) == [f"in pictures a pixel counts as 0.001 ml, so {note}" for note in notes]
    plain = manifest.model_copy(update={"inference": InferenceSettings()})
    assert list(_in_pixels(plain)) == []
