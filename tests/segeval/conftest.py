import nibabel
import numpy as np
import pytest


@pytest.fixture
def write_label_map():
    """Function that writes an array as NIfTI, making the folder: (path, array, affine or spacing)."""

    def write(path, array, spacing_mm=(1.0, 1.0, 1.0), affine=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(array), np.diag([*spacing_mm, 1.0]) if affine is None else affine),
            path,
        )
        return path

    return write


@pytest.fixture
def study(tmp_path, write_label_map):
    """Three cases of two patients with labels 1 and 2; in the last one neither side has label 2."""
    first, second, third = (np.zeros((6, 5, 4), np.uint8) for _ in range(3))
    first[1:3, 1:3, 1:3], first[4:6, 1:3, 1:3] = 1, 2
    second[1:4, 1:4, 1:3], second[5, 1:3, 1:3] = 1, 2
    third[1:3, 1:3, 1:3] = 1
    longer = first.copy()
    longer[1:3, 3, 1:3] = 1
    missed = np.where(second == 2, 0, second)
    for name, reference, prediction in (("a", first, longer), ("b", second, missed), ("c", third, third)):
        write_label_map(tmp_path / "reference" / f"{name}.nii.gz", reference, (1.0, 2.0, 3.0))
        write_label_map(tmp_path / "prediction" / f"{name}.nii.gz", prediction, (1.0, 2.0, 3.0))
    return tmp_path
