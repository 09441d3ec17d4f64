"""A study whose scans lie askew: voxels of three sizes, axes in another order, turned against the patient's."""

from pathlib import Path

import numpy as np

from imgmed import PreparationSettings, Volume, prepare_dataset, write_volume
from imgmed.dataset import PreparedDataset
from r2d2_base.files import write_json

SHAPE = (17, 22, 12)
LABELS = {"organ": 1, "lesion": 2}


def oblique_affine() -> np.ndarray:
    """Voxel index to millimetres: spacing 0.8, 1.1 and 3 mm, turned by 20 degrees, the first axis to the left and the
    last to the front."""
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    axes = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])  # of i, j, k in the patient, as columns
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag([0.8, 1.1, 3.0])
    affine[:3, 3] = (31.0, -12.0, 7.0)
    return affine


def oblique_case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Intensities (i, j, k) that differ from voxel to voxel, and a label map that has no symmetry."""
    scan = np.random.default_rng(number).integers(0, 1000, SHAPE).astype(np.int16)
    label = np.zeros(SHAPE, np.uint8)
    label[3:9, 4:15, 2:7] = 1
    label[4:6, 5:8, 3:5] = 2
    return scan, label


def oblique_study(folder: Path, cases: int = 6) -> Path:
    """Write the study, in the layout of the Medical Segmentation Decathlon."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = [f"askew_{number:03}" for number in range(cases)]
    for number, name in enumerate(names):
        for part, array in zip(("imagesTr", "labelsTr"), oblique_case(number), strict=True):
            write_volume(folder / part / f"{name}.nii.gz", Volume(array, oblique_affine()))
    files = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    labels = {"0": "background"} | {str(value): name for name, value in LABELS.items()}
    content = {"name": "Askew", "modality": {"0": "MRI"}, "labels": labels, "numTraining": cases, "numTest": 0}
    write_json(folder / "dataset.json", content | {"training": files, "test": []})
    return folder


def oblique_dataset(folder: Path) -> PreparedDataset:
    """Write the study and prepare it."""
    return prepare_dataset(oblique_study(folder / "study"), folder / "dataset", PreparationSettings(folds=2))
