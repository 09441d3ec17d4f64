"""Evaluations of small label maps: a model that is right but for some voxels, a shifted one, one that finds nothing."""

from pathlib import Path

import nibabel as nib
import numpy as np

from segeval import evaluate_folder, write_evaluation

__all__ = ["LABELS", "write_small_evaluations"]

LABELS = {"organ": 1, "lesion": 2}


def write_small_evaluations(root: Path, cases: int = 10) -> Path:
    """Write label maps and ``evaluation_good``, ``evaluation_shifted``, ``evaluation_blind`` of the same cases."""
    rng = np.random.default_rng(0)
    for number in range(cases):
        reference = np.zeros((12, 12, 6), np.uint8)
        corner = rng.integers(1, 4, 3)
        reference[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6, 1:5] = 1
        reference[corner[0] + 2 : corner[0] + 4, corner[1] + 1 : corner[1] + 4, 2:4] = 2
        speckled = np.where((reference == 1) & (rng.random(reference.shape) < 0.05 + number / 200), 0, reference)
        maps = {"reference": reference, "good": speckled, "shifted": np.roll(speckled, 2, 0), "blind": reference * 0}
        for name, label_map in maps.items():
            path = root / name / f"case {number}.nii.gz"
            path.parent.mkdir(exist_ok=True, parents=True)
            nib.save(nib.Nifti1Image(label_map, np.diag([1, 1, 2, 1])), path)
    for name in ("good", "shifted", "blind"):
        evaluation = evaluate_folder(root / "reference", root / name, LABELS, workers=1)
        write_evaluation(evaluation, root / f"evaluation_{name}")
    return root
