"""Looking at a study as one call."""

from pathlib import Path

from r2d2.tasks.inspection import InspectSettings, inspect, propose_preparation
from tests.r2d2.viewing.oblique import oblique_study


def test_what_prepare_would_choose_is_told_with_reasons(tmp_path: Path) -> None:
    found = inspect(InspectSettings(source=oblique_study(tmp_path / "study")))
    choices = {choice.name: choice for choice in propose_preparation(found.inspection)}
    assert list(choices) == ["kind", "slice_axis", "spacing_mm", "clipping", "slice_size", "normalisation"]
    assert choices["kind"].value == "slices" and choices["kind"].reason.startswith("slices")
    assert choices["slice_axis"].value == "1 (back-front)" and "3 mm" in choices["slice_axis"].reason
    assert choices["spacing_mm"].value == "0.8 x 1.1 in the plane"
    assert choices["slice_size"].value == "32 x 32" and choices["clipping"].value == "0.5 to 99.5 %"
    assert choices["normalisation"].value == "zscore_case"
