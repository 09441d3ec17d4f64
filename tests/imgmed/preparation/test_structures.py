"""One mask for each structure, as TotalSegmentator has them, prepared: what overlaps and what is empty is said."""

import nibabel as nib
import numpy as np

from imgmed import prepare_dataset


def test_masks_become_labels_and_regions(builder, tmp_path, save_nifti):
    masks = {name: np.zeros((12, 10, 6), np.uint8) for name in ("liver", "spleen", "kidney")}
    masks["liver"][2:6, 2:6, 1:4] = 1
    masks["spleen"][5:9, 2:6, 1:4] = 255
    for number in range(4):
        image, _ = builder.arrays(number)
        folder = builder.folder / f"s{number:04d}"
        save_nifti(folder / "ct.nii.gz", image, builder.affine)
        for name, mask in masks.items():
            save_nifti(folder / "segmentations" / f"{name}.nii.gz", mask, builder.affine)
    dataset = prepare_dataset(builder.folder, tmp_path / "out", key_file=tmp_path / "key")
    assert dataset.labels == {"background": 0, "liver": 1, "spleen": 2, "liver+spleen": 3}
    assert dataset.description.regions == {"liver": (1, 3), "spleen": (2, 3)}
    expected = (masks["liver"] > 0) + 2 * (masks["spleen"] > 0)
    for case_id, case in dataset.cases.items():
        np.testing.assert_array_equal(np.asarray(nib.load(dataset.reference(case_id)).dataobj), expected)
        assert case.label is not None and len(case.label.files) == 3
    warnings = "\n".join(dataset.description.warnings)
    assert "masks overlap: liver and spleen share 48 voxels in 4 of 4 cases; such voxels" in warnings
    assert "no voxel in any mask of kidney" in warnings
