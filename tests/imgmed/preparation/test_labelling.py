"""Numbers of a study's labels: declared or found, of masks that overlap, of categories; and refusals."""

from collections.abc import Mapping

import numpy as np
import pytest

from imgmed.dataset import SourceFiles
from imgmed.errors import LabelError
from imgmed.fingerprint.measures import measure_case
from imgmed.preparation.labelling import Labelling, labelling_of
from imgmed.preparation.survey import SurveyRecord
from imgmed.splits.duplicates import signature_of
from imgmed.volume import Volume

IMAGE = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1), np.eye(4))


def record(
    case_id: str,
    counts: Mapping[int, int] | None = None,
    combinations: Mapping[tuple[str, ...], int] | None = None,
    category: str | None = None,
) -> SurveyRecord:
    """What a survey keeps of a case with these voxels of each value, or of each combination of masks."""
    voxels = np.repeat(list(counts or {}), list((counts or {}).values())).astype(np.uint8)
    label_map = np.pad(voxels, (0, 24 - len(voxels))).reshape(2, 3, 4)
    names = {"background": 0} | {f"label_{value}": value for value in counts or {} if value}
    file = SourceFiles(files=(f"{case_id}.nii",), entry=None)
    return SurveyRecord(
        stamp="", case_id=case_id, patient_id=case_id, header_patient=None, images=(file,),
        label=None if category is not None else file, category=category, sha256={f"{case_id}.nii": ""},
        shape=(2, 3, 4), affine=np.eye(4).tolist(), channels=1, source_channels=1, lowest=(0.0,),
        label_counts=dict(counts or {}),
        combinations=tuple((combinations or {}).items()),
        measures=measure_case(IMAGE, label_map, names, dtype="float32"), signature=signature_of(IMAGE),
    )  # fmt: skip


def test_values_that_nobody_named() -> None:
    found = labelling_of([record("a", {0: 3, 2: 1}), record("b", {0: 3, 5: 1})], None, None)
    assert found == Labelling({"background": 0, "label_2": 2, "label_5": 5}, {}, {})


def test_declared_names_and_regions_are_kept() -> None:
    declared = {"background": 0, "oedema": 1, "core": 2}
    found = labelling_of([record("a", {0: 1, 1: 1})], declared, {"whole": (2, 1)})
    assert found == Labelling(declared, {"whole": (1, 2)}, {})
    with pytest.raises(LabelError, match=r"regions: region 'whole' holds 7"):
        labelling_of([record("a", {0: 1, 1: 1})], declared, {"whole": (1, 7)})


A = record("a", combinations={("liver",): 5, ("liver", "tumour"): 2})
B = record("b", combinations={("liver",): 4})
C = record("c", combinations={("cyst",): 1})


def test_masks_get_composite_integers_whatever_the_order_of_the_cases() -> None:
    found = labelling_of([A, B, C], None, None)
    assert found.labels == {"background": 0, "cyst": 1, "liver": 2, "tumour": 3, "liver+tumour": 4}
    assert found.segments == {"cyst": (1,), "liver": (2, 4), "tumour": (3, 4)} == found.regions
    assert labelling_of([C, B, A], None, None) == found


def test_declared_labels_give_the_order_of_masks() -> None:
    found = labelling_of([A, B], {"background": 0, "tumour": 1, "liver": 2}, {"any": (1, 2, 3)})
    assert found.labels == {"background": 0, "tumour": 1, "liver": 2, "tumour+liver": 3}
    assert found.regions == {"tumour": (1, 3), "liver": (2, 3), "any": (1, 2, 3)}
    with pytest.raises(LabelError, match="segments cyst are not among the names tumour, liver"):
        labelling_of([A, B, C], {"background": 0, "tumour": 1, "liver": 2}, None)


def test_masks_beside_integers_are_refused_by_the_names_of_such_cases() -> None:
    empty, numbered = record("e", {0: 9}), record("n", {0: 5, 1: 4})
    with pytest.raises(LabelError, match=r"a names its labels .*, n numbers them; prepare them apart"):
        labelling_of([A, empty, numbered], None, None)
    assert labelling_of([A, empty], None, None).labels["liver"] == 1, "a map of background only fits both"


def test_background_alone_is_refused() -> None:
    with pytest.raises(LabelError, match="background only; there is nothing to learn"):
        labelling_of([record("a", {0: 24}), record("b", {0: 24})], None, None)


def test_categories_are_numbered_in_alphabetical_order() -> None:
    records = [record("1", category="malignant"), record("2", category="benign")]
    found = labelling_of(records, None, None)
    assert found.labels == {"benign": 0, "malignant": 1}
    assert [found.values_in(one) for one in records] == [{1}, {0}]
    declared = {"malignant": 0, "benign": 1}
    assert labelling_of(records, declared, None).labels == declared


def test_values_in_a_case() -> None:
    found = labelling_of([A, B, C], None, None)
    assert [sorted(found.values_in(one)) for one in (A, B, C)] == [[2, 3, 4], [2, 4], [1]]
    numbered = record("n", {0: 5, 1: 4, 3: 1})
    assert labelling_of([numbered], None, None).values_in(numbered) == {1, 3}


def test_measures_are_completed_by_labels_that_a_case_lacks() -> None:
    here, there = record("a", {0: 20, 1: 4}), record("b", {0: 22, 2: 2})
    measures = labelling_of([here, there], None, None).completed(here)
    assert {name: one.voxels for name, one in measures.labels.items()} == {"label_1": 4, "label_2": 0}
    assert measures.labels["label_2"].volume_ml == 0
    assert set(here.measures.labels) == {"label_1"}, "the record itself is not changed"
