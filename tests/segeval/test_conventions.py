import math

import numpy as np
import pytest

import segeval
from segeval.conventions import empty_policy

CASES = {
    "both_empty": ([0, 0, 0, 0], [0, 0, 0, 0]),
    "reference_empty": ([0, 0, 0, 0], [0, 1, 0, 0]),
    "prediction_empty": ([0, 1, 1, 0], [0, 0, 0, 0]),
}
EVERY = tuple(segeval.METRICS)


def values_of(case, **choices):
    return segeval.evaluate(*CASES[case], {"a": 1}, (3.0,), metrics=EVERY, **choices).scores[0].values


def test_by_default_a_structure_in_neither_has_no_value():
    assert all(math.isnan(value) for value in values_of("both_empty").values())


@pytest.mark.parametrize("case", ["reference_empty", "prediction_empty"])
def test_by_default_a_structure_in_one_only_has_the_worst_value(case):
    """The diagonal of 4 voxels of 3 mm is 12 mm. Specificity is about the rest of the image: measured."""
    values = values_of(case)
    assert math.isnan(values.pop("absolute_volume_difference_ml"))  # a line has no volume
    assert values.pop("specificity") == (0.75 if case == "reference_empty" else 1)
    worst = {("higher", ""): 0, ("lower", "mm"): 12, ("lower", ""): 1}
    for name, value in values.items():
        metric = segeval.METRICS[name]
        assert value == worst[metric.better, metric.unit], name


@pytest.mark.parametrize(
    ("better", "unit", "largest", "worst"),
    [
        ("higher", "", 1.0, 0.0),
        ("higher", "mm", 1.0, 0.0),
        ("lower", "", 1.0, 1.0),
        ("lower", "", math.inf, math.inf),
        ("lower", "mm", 1.0, 5.0),  # the diagonal of 3 × 4 × 1 voxels of 1 mm, of one slice
        ("lower", "ml", 1.0, 0.012),  # all twelve voxels
    ],
)
def test_a_missed_structure_is_penalised_by_the_direction_of_the_metric(monkeypatch, better, unit, largest, worst):
    """A metric as CONTRIBUTING tells one to add it: what is best must not be what a missed structure gets."""
    metric = segeval.Metric("trial", "Trial", unit, better, "overlap", "of a test", lambda pair: 0.25, largest)
    monkeypatch.setitem(segeval.METRICS, "trial", metric)
    monkeypatch.setitem(segeval.ON_EMPTY["penalise"], "trial", segeval.EmptyPolicy(math.nan, "worst", "worst"))
    nothing, something = np.zeros((3, 4, 1), np.uint8), np.zeros((3, 4, 1), np.uint8)
    something[0, 0] = 1
    choices = {"labels": {"a": 1}, "spacing_mm": (1.0, 1.0, 1.0), "metrics": ("trial",), "on_empty": "nnunet"}
    for maps in ((something, nothing), (nothing, something)):
        assert segeval.evaluate(*maps, **choices).scores[0]["trial"] == worst
    assert segeval.evaluate_missing(something, **choices).scores[0]["trial"] == worst
    assert segeval.evaluate(something, something, **choices).scores[0]["trial"] == 0.25
    words = segeval.describe_conventions(segeval.Conventions(metrics=("trial",)))["trial, missed"]
    assert words.startswith("the worst value: " + {5.0: "the diagonal", 0.012: "the volume"}.get(worst, f"{worst:g}"))


def test_infinite_distances_on_request():
    values = values_of("prediction_empty", on_empty="infinite")
    assert values["hd95_mm"] == values["assd_mm"] == values["hausdorff_mm"] == values["masd_mm"] == math.inf
    assert (values["dice"], values["nsd"]) == (0, 0)


def test_a_metric_that_a_library_lacks_follows_penalise_and_says_so():
    conventions = segeval.Conventions(on_empty="nnunet")
    assert empty_policy(conventions, "dice")[1] == "nnunet"
    assert empty_policy(conventions, "hd95_mm") == (segeval.ON_EMPTY["penalise"]["hd95_mm"], "penalise")
    assert values_of("prediction_empty", on_empty="nnunet")["hd95_mm"] == 12
    words = segeval.describe_conventions(conventions)
    assert words["hd95_mm, convention"] == "nnunet has none for it; penalise is used"
    assert "dice, convention" not in words


def test_the_default_convention_covers_every_metric():
    assert set(segeval.ON_EMPTY["penalise"]) == set(segeval.METRICS)
    for policies in segeval.ON_EMPTY.values():
        assert set(policies) <= set(segeval.METRICS)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"on_empty": "matlab"}, "on_empty must be one of penalise, .*; received matlab"),
        ({"metrics": ("dice", "accuracy", "auc")}, "metrics must be among dice, .*; received accuracy, auc"),
        ({"metrics": ()}, "received none"),
        ({"tolerance_mm": -1}, "tolerance_mm must be 0 or more, in mm; received -1"),
        ({"tolerance_mm": {"a": math.inf}}, "tolerance_mm must be 0 or more"),
        ({"surface": "mesh"}, "surface: .*'voxel' or 'area_weighted'; received 'mesh'"),
        ({"hd95": "mean"}, "hd95: .*'max_of_directed' or 'pooled'; received 'mean'"),
        ({"spacing": 1}, "spacing: unknown key; valid: hd95, "),
        ({"tolerance_mm": {"b": 1.0}}, "tolerance_mm must name every label; received b without a"),
    ],
)
def test_choices_are_checked(choices, message):
    with pytest.raises(segeval.MetricArgumentError, match=message):
        segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1,), **choices)


def test_all_wrong_choices_are_reported_at_once():
    with pytest.raises(segeval.MetricArgumentError, match=r"surface: .*hd95: .*no: unknown key"):
        segeval.build_conventions(choices={"surface": 1, "hd95": 2, "no": 3})


def test_a_choice_changes_only_itself():
    start = segeval.Conventions(surface="area_weighted", tolerance_mm={"a": 2.0})
    changed = segeval.build_conventions(start, {"hd95": "pooled"})
    assert changed == segeval.Conventions(surface="area_weighted", tolerance_mm={"a": 2.0}, hd95="pooled")
    assert start.hd95 == "max_of_directed"


def test_the_tolerance_may_differ_between_labels():
    """The second label's surface is 2 mm off everywhere, the first one's as well."""
    reference, prediction = [1, 0, 0, 0, 2, 0], [0, 0, 1, 0, 0, 2]
    case = segeval.evaluate(reference, prediction, {"a": 1, "b": 2}, (1.0,), tolerance_mm={"a": 2.0, "b": 0.5})
    assert [score["nsd"] for score in case.scores] == [1.0, 0.0]


def test_metrics_keep_the_order_of_the_tables():
    assert segeval.Conventions(metrics=("nsd", "dice", "dice")).metrics == ("dice", "nsd")


def test_variants_of_hd95_are_named():
    """There 0, 0, .., 10 mm; back only zeros: the directed percentile is 9.5 of 10, the pooled one lies lower."""
    reference, prediction = [0] * 30, [0] * 30
    reference[0], reference[10] = 1, 1
    prediction[0] = 1
    directed = segeval.evaluate(reference, prediction, {"a": 1}, (1.0,)).scores[0]["hd95_mm"]
    pooled = segeval.evaluate(reference, prediction, {"a": 1}, (1.0,), hd95="pooled").scores[0]["hd95_mm"]
    assert directed == pytest.approx(9.5)  # of [0, 10]
    assert pooled == pytest.approx(9.0)  # of [0, 0, 10], at position 1.9


def test_words_tell_the_choices_made():
    words = segeval.describe_conventions(
        segeval.Conventions(surface="area_weighted", tolerance_mm=2.5, metrics=("nsd", "lesion_f1"))
    )
    assert "area" in words["surface"]
    assert words["nsd tolerance"] == "every label 2.5 mm"
    assert "vertex" in words["lesions"]
    assert "hd95_mm variant" not in words
    assert words["nsd, missed"].startswith("the worst value: 0")


def test_a_dictionary_is_no_conventions_but_can_be_given_by_name():
    with pytest.raises(
        segeval.MetricArgumentError, match="must be Conventions, or choices given by name; received dict"
    ):
        segeval.evaluate([0], [0], {"a": 1}, (1,), conventions={"on_empty": "monai"})
    assert segeval.build_conventions(None, {"on_empty": "monai"}).on_empty == "monai"
