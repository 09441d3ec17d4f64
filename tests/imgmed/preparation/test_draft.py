"""The draft of a plan from headers is the plan, as far as voxels have no say in it."""

from pathlib import Path

import numpy as np
import pytest

from imgmed import PreparationSettings, Volume, inspect_source, prepare_dataset, write_phantom_study, write_volume
from imgmed.preparation.draft import draft_plan
from tests.r2d2.viewing.oblique import oblique_study


@pytest.mark.parametrize("kind", ["phantom", "oblique", "pictures"])
def test_a_draft_chooses_what_prepare_chooses(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "study"
    if kind == "phantom":
        write_phantom_study(source, cases=4)
    elif kind == "oblique":
        oblique_study(source)
    else:
        for part in ("images", "masks"):
            (source / part).mkdir(parents=True)
            for number in range(4):
                array = np.random.default_rng(number).integers(0, 2, (40, 70, 1)).astype(np.uint8)
                write_volume(source / part / f"p{number}.png", Volume(array, np.eye(4)))
    # with hardly a test case the training cases are like all of them
    settings = PreparationSettings(test_fraction=0.0, validation_fraction=0.0, folds=2)
    draft = draft_plan(inspect_source(source), settings)
    made = prepare_dataset(source, tmp_path / "dataset", settings)
    assert draft is not None
    assert draft.scan_preparation.slice_axis == made.scan_preparation.slice_axis
    assert draft.scan_preparation.slice_size == made.scan_preparation.slice_size
    assert draft.normalisation == made.description.normalisation
    assert draft.reasons == made.description.reasons


def test_nothing_is_drafted_where_no_header_can_be_read(tmp_path: Path) -> None:
    source = oblique_study(tmp_path / "study")
    for file in (source / "imagesTr").iterdir():
        file.write_bytes(b"no scan")
    assert draft_plan(inspect_source(source)) is None
