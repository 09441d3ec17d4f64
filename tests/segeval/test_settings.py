"""The one class of settings: its rules, and its way into `summary.json` and back."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import segeval
from segeval import Conventions, EvaluationSettings, MetricArgumentError, build_settings
from tests.segeval.studies import pairs_of

OF_VERSION_0_1 = Path(__file__).parent / "evaluation_of_version_0_1"
"""Written by R2D2 0.1.0 (f74575b): labels 1 and 2, of two voxels each; case a has three predicted voxels of label 1."""

CHOSEN = {
    "labels": {"whole": (1, 2), "tail": 2},
    "other_labels": "background",
    "ignore_label": 9,
    "on_missing": "worst",
    "unit": "slice",
    "slice_axis": 0,
    "spacing_mm": (0.5, 0.25),
    "spatial_units": "mm",
    "seed": 4,
    "workers": 1,
}


def test_settings_choices_and_labels_are_one():
    """A start, single fields of it and of its conventions, and labels: the later word counts."""
    start = EvaluationSettings(labels={"a": 1}, seed=3, conventions=Conventions(hd95="pooled", surface="area_weighted"))
    settings = build_settings(start, {"labels": {"b": "2-3"}, "unit": "slice", "hd95": "max_of_directed"})
    assert settings.model_dump(exclude_defaults=True) == {
        "labels": {"b": (2, 3)},
        "seed": 3,
        "unit": "slice",
        "conventions": {"surface": "area_weighted"},
    }
    other = build_settings(start, {"conventions": Conventions(on_empty="monai"), "metrics": ("dice",)})
    assert other.conventions == Conventions(on_empty="monai", metrics=("dice",))
    with pytest.raises(ValidationError):
        settings.seed = 4


def test_all_faults_are_one_error():
    choices = {"on_missing": "skip", "slice_axis": 3, "spacing_mm": (1.0, -1.0), "seed": True, "surface": "mesh"}
    with pytest.raises(MetricArgumentError) as caught:
        build_settings(choices={**choices, "workers": 0, "labels": {"a": -1}, "on_emty": "monai", "seed": 1.5})
    words = (
        "on_missing: must be 'error' or 'worst'",
        "slice_axis: must be at most 2; received 3",
        "spacing_mm must be 2",
    )
    for part in (
        *words,
        "seed: must be a whole number; received 1.5",
        "label 'a' must be",
        "on_emty",
        "surface: must be",
    ):
        assert part in str(caught.value)
    with pytest.raises(MetricArgumentError, match="label 'a' must not contain ignore_label 2"):
        build_settings(choices={"labels": {"a": (1, 2)}, "ignore_label": 2})
    with pytest.raises(MetricArgumentError, match="tolerance_mm must name every label"):
        build_settings(choices={"labels": {"a": 1, "b": 2}, "tolerance_mm": {"a": 1.0}})
    for start in ({"seed": 1}, Conventions()):
        with pytest.raises(MetricArgumentError, match="settings must be EvaluationSettings"):
            build_settings(start, {"seed": 2})
    with pytest.raises(MetricArgumentError, match="conventions must be Conventions"):
        build_settings(choices={"conventions": "monai"})


def test_every_setting_reaches_the_summary_and_comes_back(study):
    settings = build_settings(choices={**CHOSEN, "hd95": "pooled"})
    assert all(getattr(settings, name) != field.default for name, field in EvaluationSettings.model_fields.items())
    evaluation = segeval.evaluate_pairs(pairs_of(study), settings=settings)
    segeval.write_evaluation(evaluation, study / "out")
    extension = json.loads((study / "out" / "summary.json").read_text())["r2d2"]
    assert set(EvaluationSettings.model_fields) - set(extension) == {"workers"}  # results do not depend on them
    restored = segeval.read_evaluation(study / "out")
    assert restored.settings == settings.model_copy(update={"workers": None})
    assert restored.cases == evaluation.cases


def test_what_version_0_1_wrote_is_read():
    evaluation = segeval.read_evaluation(OF_VERSION_0_1)
    assert evaluation.settings == build_settings(
        choices={
            "labels": {"whole": (1, 2), "core": 2},
            "ignore_label": 9,
            "metrics": ("dice", "jaccard"),
            "on_empty": "nnunet",
            "seed": 7,
        }
    )
    whole, core = evaluation.cases[0].scores
    assert (whole["dice"], core["dice"]) == (pytest.approx(2 * 3 / (4 + 3)), 0.0)
    assert evaluation.means["dice"]["core"].mean == 0.5
    assert evaluation.pooled.class_values == (0, 1, 2)
    np.testing.assert_array_equal(evaluation.pooled.confusion, [[10, 0, 0], [0, 4, 0], [1, 1, 2]])
    assert segeval.read_scores(OF_VERSION_0_1).patient_ids == ("p1", "p2")


@pytest.mark.parametrize(("written", "meant"), [("on_mising", "on_missing"), ("on_emty", "on_empty")])
def test_settings_and_conventions_are_one_list_of_names(written: str, meant: str) -> None:
    with pytest.raises(
        MetricArgumentError, match=rf"^{written}: unknown key; did you mean {meant}\? valid: hd95, .*unit"
    ):
        build_settings(choices={written: "worst"})
