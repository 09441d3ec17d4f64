"""Which slices are shown of a run: of different cases, where something is labelled, the same each time."""

import nibabel as nib
import numpy as np
import pytest

from dist_training.inputs.sample_slices import choose_slices
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset

AREAS = {
    "a": [0, 4, 9, 2, 0, 1],
    "b": [0, 0, 0, 0, 0, 0],
    "c": [1, 1, 0, 0, 0, 0],
    "d": [5, 20, 30, 6, 40, 5],
    "e": [0, 6, 6, 0, 0, 3],
}
"""Labelled pixels of each slice of each case; those of odd slices are to be ignored. From c over e and a to d there are
1, 6, 9 and 75 that count."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("samples")
    for part in ("images", "labels"):
        (folder / "study" / part).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for case_id, areas in AREAS.items():
        label_map = np.zeros((64, len(areas)), np.uint8)
        for number, area in enumerate(areas):
            label_map[:area, number] = 1 + number % 2
        image = generator.normal(size=(8, 8, len(areas))).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "study" / "images" / f"{case_id}.nii.gz")
        labels = nib.Nifti1Image(label_map.reshape(image.shape), np.eye(4))
        nib.save(labels, folder / "study" / "labels" / f"{case_id}.nii.gz")
    settings = PreparationSettings(slice_axis=2, ignore_label=2, labels={"background": 0, "organ": 1})
    return prepare_dataset(folder / "study", folder / "dataset", settings)


@pytest.mark.parametrize(
    ("cases", "count", "chosen"),
    [
        ("abcde", 0, []),
        ("", 3, []),
        ("abcde", 1, ["a2"]),
        ("abcde", 2, ["d4", "e2"]),
        ("edcba", 4, ["e2", "d4", "c0", "a2"]),
        ("abc", 3, ["a2", "c0"]),
        ("d", 2, ["d2", "d4"]),
        ("d", 9, ["d0", "d2", "d4"]),
        ("b", 2, ["b1", "b4"]),
    ],
)
def test_which_slices_are_chosen(dataset: PreparedDataset, cases: str, count: int, chosen: list[str]) -> None:
    found = choose_slices(dataset, tuple(cases), count)
    assert [f"{case_id}{number}" for case_id, number in found] == chosen
