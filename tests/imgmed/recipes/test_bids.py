"""BIDS in the forms that are handed round: the patient is the subject, and a label map finds its image."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed.recipes import read_study
from imgmed.study import Study

SUBJECTS = ("sub-01", "sub-02", "sub-03")


def volume(path: Path, shape: tuple[int, ...] = (4, 3, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), path)


def write(root: Path, *names: str, shape: tuple[int, ...] = (4, 3, 2)) -> None:
    """Write files of every subject; SUB stands for it in their names."""
    for subject in SUBJECTS:
        for name in names:
            volume(root / f"{name.replace('SUB', subject)}.nii.gz", shape)


def shown(study: Study) -> dict[str, tuple[str, list[str], list[str]]]:
    """{case: (patient, images, label maps)} by the names of files, checked to be unlike in each case."""
    assert study.recipe == "bids"
    return {
        case.case_id: (
            case.patient,
            [image.path.name.removesuffix(".nii.gz") for image in case.images],
            [file.name.removesuffix(".nii.gz") for file in (case.label.files if case.label else ())],
        )
        for case in study.sources
    }


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("derivatives/labels/SUB/ses-1/anat/SUB_ses-1_T1w_seg-manual", "SUB_ses-1_T1w_seg-manual"),
        ("derivatives/labels/SUB/ses-1/anat/SUB_ses-1_T1w", "SUB_ses-1_T1w"),
        ("derivatives/made by/hand/masks/SUB/ses-1/SUB_ses-1_dseg", "SUB_ses-1_dseg"),
        ("derivatives/SUB/ses-1/SUB_ses-1_msk", "SUB_ses-1_msk"),
        ("derivatives/lesions/SUB_ses-1_space-orig_label-lesion_mask", "SUB_ses-1_space-orig_label-lesion_mask"),
        ("SUB/ses-1/anat/SUB_ses-1_T1w_label-L_desc-T1lesion_mask", "SUB_ses-1_T1w_label-L_desc-T1lesion_mask"),
        ("labels/SUB/ses-1/anat/SUB_ses-1_T1w", "SUB_ses-1_T1w"),
    ],
)
def test_label_maps_of_any_depth_and_name(tmp_path: Path, label: str, found: str) -> None:
    write(tmp_path, "SUB/ses-1/anat/SUB_ses-1_T1w", label)
    write(tmp_path, *(name.replace("ses-1", "ses-2") for name in ("SUB/ses-1/anat/SUB_ses-1_T1w", label)))
    study = read_study(tmp_path)
    assert shown(study) == {
        f"{subject}_{session}_T1w": (
            subject,
            [f"{subject}_{session}_T1w"],
            [found.replace("SUB", subject).replace("ses-1", session)],
        )
        for subject in SUBJECTS
        for session in ("ses-1", "ses-2")
    }
    assert not study.problems and not study.notes and study.channels == ("T1w",)
    bare = read_study(tmp_path, labels="none")
    assert [(case.case_id, case.patient) for case in bare.sources] == [
        (case.case_id, case.patient) for case in study.sources
    ]


def test_contrasts_of_one_label_map_are_channels_where_they_lie_on_its_voxels(tmp_path: Path) -> None:
    write(tmp_path, "SUB/anat/SUB_T1w", "SUB/anat/SUB_FLAIR", "derivatives/labels/SUB/anat/SUB_FLAIR_seg")
    write(tmp_path, "SUB/anat/SUB_T2w", shape=(4, 4, 4))
    write(tmp_path, "SUB/dwi/SUB_dwi", shape=(4, 3, 2, 5))
    study = read_study(tmp_path)
    assert study.channels == ("FLAIR", "T1w") and not study.problems
    assert shown(study)["sub-02"] == ("sub-02", ["sub-02_FLAIR", "sub-02_T1w"], ["sub-02_FLAIR_seg"])
    assert len(study.notes) == 1 and study.notes[0].startswith("T2w is not used: 3 of 3 sessions have it, 0 on the vox")
    assert shown(read_study(tmp_path, labels="none")).keys() == shown(study).keys()
    volume(tmp_path / "sub-03/anat/sub-03_T1w.nii.gz", (4, 3, 3))
    (problem,) = read_study(tmp_path).problems
    assert "T1w of this session is not on the voxels of the label map" in problem and "sub-03_FLAIR_seg" in problem
    (tmp_path / "sub-03/anat/sub-03_T1w.nii.gz").unlink()
    study = read_study(tmp_path)
    assert list(shown(study)) == ["sub-01", "sub-02"]
    assert "no T1w in this session, which other sessions have; it has FLAIR" in study.problems[0]


def test_each_contrast_with_its_own_label_map_is_a_case(tmp_path: Path) -> None:
    write(tmp_path, *(f"SUB/anat/SUB_acq-ax_{kind}{end}" for kind in ("T1w", "T2w") for end in ("", "_label-SC_seg")))
    study = read_study(tmp_path)
    assert list(shown(study).items())[:2] == [
        ("sub-01_acq-ax_T1w", ("sub-01", ["sub-01_acq-ax_T1w"], ["sub-01_acq-ax_T1w_label-SC_seg"])),
        ("sub-01_acq-ax_T2w", ("sub-01", ["sub-01_acq-ax_T2w"], ["sub-01_acq-ax_T2w_label-SC_seg"])),
    ]
    assert len(study.sources) == 6 and not study.problems
    assert "acq-ax_T1w of 3, acq-ax_T2w of 3 cases" in study.notes[0]


def test_runs_are_told_apart(tmp_path: Path) -> None:
    write(
        tmp_path, *(f"SUB/anat/SUB_run-{n}_T1w" for n in (1, 2)), *(f"derivatives/SUB/SUB_run-{n}_dseg" for n in (1, 2))
    )
    study = read_study(tmp_path)
    assert len(study.sources) == 6 and {case.patient for case in study.sources} == set(SUBJECTS)
    assert all(image[0].split("_")[1] == label[0].split("_")[1] for _, image, label in shown(study).values())
    assert not study.notes and not study.problems
    bare = read_study(tmp_path, labels="none")
    assert shown(bare).keys() == shown(study).keys() and bare.channels == study.channels == ("T1w",)


def test_contrasts_of_each_run_are_channels_without_labels_too(tmp_path: Path) -> None:
    write(tmp_path, *(f"SUB/anat/SUB_run-{n}_{kind}" for n in (1, 2) for kind in ("FLAIR", "T1w")))
    found = shown(read_study(tmp_path, labels="none"))
    assert len(found) == 6
    assert [images for _, images, _ in found.values()][:2] == [
        [f"sub-01_run-{n}_FLAIR", f"sub-01_run-{n}_T1w"] for n in (1, 2)
    ]


def test_masks_of_structures_and_of_the_brain(tmp_path: Path) -> None:
    write(tmp_path, "SUB/anat/SUB_T1w", "derivatives/SUB/SUB_label-liver_mask", "derivatives/SUB/SUB_label-spleen_mask")
    write(tmp_path, "derivatives/SUB/SUB_desc-brain_mask", "derivatives/SUB/SUB_label-GM_probseg")
    (tmp_path / "derivatives/sub-02/sub-02_label-spleen_mask.nii.gz").unlink()
    study = read_study(tmp_path)
    assert [case.label.structures for case in study.sources if case.label] == [
        ("liver", "spleen"),
        ("liver",),
        ("liver", "spleen"),
    ]


def test_what_has_no_partner_or_several_is_said(tmp_path: Path) -> None:
    write(tmp_path, "SUB/anat/SUB_T1w", "SUB/anat/SUB_T1w_seg")
    volume(tmp_path / "sub-04/anat/sub-04_T1w.nii.gz")
    volume(tmp_path / "derivatives/sub-05/sub-05_T1w_seg.nii.gz")
    volume(tmp_path / "sub-02/anat/sub-02_T1w_seg-two.nii.gz")
    study = read_study(tmp_path)
    assert list(shown(study)) == ["sub-01_T1w", "sub-03_T1w"]
    problems = "\n".join(study.problems)
    assert "sub-04_T1w.nii.gz: image without a label" in problems
    assert "sub-05_T1w_seg.nii.gz: label without an image" in problems
    assert "sub-02_T1w.nii.gz: 2 label maps: sub-02/anat/sub-02_T1w_seg-two.nii.gz, sub-02/" in problems


def test_label_maps_of_several_raters_are_said(tmp_path: Path) -> None:
    write(tmp_path, "SUB/anat/SUB_T1w", *(f"derivatives/{who}/SUB/SUB_T1w_seg-{who}" for who in ("manual", "auto")))
    study = read_study(tmp_path)
    assert study.recipe == "bids" and not study.sources and len(study.problems) == 3
    assert "2 label maps: derivatives/auto/sub-01/sub-01_T1w_seg-auto.nii.gz, derivatives/manual" in study.problems[0]


def test_preprocessed_images_are_taken_where_the_label_map_names_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        "SUB/anat/SUB_T1w",
        "derivatives/p/SUB/SUB_space-MNI_T1w",
        "derivatives/p/SUB/SUB_space-MNI_T1w_label-x_mask",
    )
    study = read_study(tmp_path)
    assert [images for _, images, _ in shown(study).values()] == [[f"{name}_space-MNI_T1w"] for name in SUBJECTS]
