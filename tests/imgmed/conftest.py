"""Small studies written with nibabel alone, so that ImgMed's own writer is not what tests its reader."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (12, 10, 6)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.set_data_dtype(array.dtype)
    nib.save(image, path)
    return path


class StudyBuilder:
    """Writes cases with a bright box that is labelled; single files can be replaced afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.affine = np.diag([1.0, 1.0, 3.0, 1.0])

    def arrays(self, number: int, shape: tuple = SHAPE) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        image = rng.normal(100, 10, shape).astype(np.float32)
        label = np.zeros(shape[:3], np.uint8)
        label[3:7, 2:6, 1:4] = 1
        label[4:6, 3:5, 2:3] = 2
        image[label > 0] += 50
        return image, label

    def image_path(self, name: str) -> Path:
        return self.folder / "imagesTr" / f"{name}.nii.gz"

    def label_path(self, name: str) -> Path:
        return self.folder / "labelsTr" / f"{name}.nii.gz"

    def add(self, name: str, image: np.ndarray, label: np.ndarray, affine: np.ndarray | None = None) -> None:
        affine = self.affine if affine is None else affine
        write_nifti(self.image_path(name), image, affine)
        write_nifti(self.label_path(name), label, affine)

    def fill(self, names: str | list[str]) -> "StudyBuilder":
        for number, name in enumerate(names):
            self.add(name, *self.arrays(number))
        return self

    def index(self, **changes: object) -> "StudyBuilder":
        names = sorted(path.name for path in (self.folder / "imagesTr").iterdir())
        content = {
            "name": "Boxes",
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "shell", "2": "core"},
            "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        } | changes
        (self.folder / "dataset.json").write_text(json.dumps(content))
        return self


@pytest.fixture
def builder(tmp_path: Path) -> StudyBuilder:
    """A study builder over an empty folder."""
    folder = tmp_path / "study"
    folder.mkdir()
    return StudyBuilder(folder)


@pytest.fixture
def study(builder: StudyBuilder) -> StudyBuilder:
    """An MSD study of five good cases a to e."""
    return builder.fill("abcde").index()


@pytest.fixture
def save_nifti():
    """nibabel's writer with folders made: (path, array, affine) -> path."""
    return write_nifti
