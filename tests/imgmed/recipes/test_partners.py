"""Label maps whose names differ from their images', masks of one structure each, and several contrasts of one case."""

from pathlib import Path

import pytest

from imgmed.recipes import read_study
from imgmed.recipes.structures import structure_name
from imgmed.study import Study


def touch(root: Path, names: str) -> Path:
    for name in names.split():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def shown(study: Study) -> dict[str, tuple[list[str], list[str], tuple[str, ...]]]:
    """{case: (images, label maps, structures)} as paths below the root."""
    return {
        case.case_id: (
            [image.path.relative_to(study.root).as_posix() for image in case.images],
            [file.relative_to(study.root).as_posix() for file in case.label.files],
            case.label.structures,
        )
        for case in study.sources
        if case.label is not None
    }


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.nii.gz", "labels/{}_seg.nii.gz"),
        ("images/{}.png", "masks/{}_mask.png"),
        ("images/{}.nrrd", "labels/{}.seg.nrrd"),
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii"),
        ("images/{}_image.nii", "labels/{}_label.nii"),
        ("images/img{}.png", "masks/mask{}.png"),
        ("images/ISIC_{}.jpg", "masks/ISIC_{}_segmentation.png"),
        ("images/{}/ct.nii", "labels/{}/seg.nii"),
        ("images/{}/ct.nii", "labels/{}.nii"),
        ("images/{}.nii", "labels/{}/liver.nii"),
        ("images/{}.nii", "labels/{}_manual.nii"),
    ],
)
def test_names_that_differ_by_a_word_meet(tmp_path: Path, image: str, label: str) -> None:
    names = ("1", "2", "10")
    study = read_study(touch(tmp_path, " ".join(f"{image.format(n)} {label.format(n)}" for n in names)))
    assert [(images, labels) for images, labels, _ in shown(study).values()] == [
        ([image.format(name)], [label.format(name)]) for name in names
    ]
    assert not study.problems and not study.unused and not any(names for *_, names in shown(study).values())


def test_names_that_fit_several_do_not_meet(tmp_path: Path) -> None:
    study = read_study(touch(tmp_path, "images/a.nii labels/a.nii images/x_ct.nii images/x_mr.nii labels/x_seg.nii"))
    assert list(shown(study)) == ["a"] and len(study.problems) == 3


@pytest.mark.parametrize(
    "place",
    [
        "{}/ct.nii.gz {}/segmentations/liver.nii.gz {}/segmentations/kidney_left.nii.gz",
        "{}/ct.nii.gz {}/liver_seg.nii.gz {}/kidney_left_seg.nii.gz",
        "{}/{}_img.nrrd {}/{}_liver.seg.nrrd {}/{}_kidney_left.seg.nrrd",
        "images/{}.nii.gz labels/{}/liver.nii.gz labels/{}/kidney_left.nii.gz",
        "images/{}.nii.gz masks/liver/{}.nii.gz masks/kidney_left/{}.nii.gz",
        "images/{}.png masks/{}_liver.png masks/{}_kidney_left.png",
        "images/{}/mr.nii masks/{}/liver.nii masks/{}/kidney_left.nii",
    ],
)
def test_a_mask_for_each_structure(tmp_path: Path, place: str) -> None:
    names = ("s1", "s2", "s3")
    study = read_study(touch(tmp_path, " ".join(place.replace("{}", name) for name in names)))
    assert [set(structures) for *_, structures in shown(study).values()] == [{"liver", "kidney_left"}] * 3
    for _, labels, structures in shown(study).values():
        assert all(structure in label for structure, label in zip(structures, labels, strict=True))
    assert not study.problems and not study.unused
    masks = place.split()[1:]
    (tmp_path / masks[1].replace("{}", "s3")).unlink()  # a structure that is not there has no file
    assert shown(read_study(tmp_path))[next(case for case in shown(study) if "s3" in case)][2] == ("liver",)


@pytest.mark.parametrize("names", ["seg_1 seg_2", "seg_rater1 seg_rater2", "seg_old seg_new", "label_v1 label_v2"])
def test_copies_of_one_label_map_are_no_structures(tmp_path: Path, names: str) -> None:
    touch(tmp_path, " ".join(f"p{n}/ct.nii p{n}/{name}.nii" for n in (1, 2) for name in names.split()))
    touch(tmp_path, "p3/ct.nii p3/seg.nii")
    study = read_study(tmp_path)
    assert list(shown(study)) == ["p3"] and "2 label maps" in study.problems[0]
    assert all(structure_name(name) is None for name in names.split())


def test_masks_of_a_few_cases_are_no_structures(tmp_path: Path) -> None:
    touch(tmp_path, " ".join(f"p{n}/ct.nii p{n}/seg.nii" for n in range(1, 5)))
    touch(tmp_path, "p5/ct.nii p5/liver_seg.nii p5/spleen_seg.nii")
    study = read_study(tmp_path)
    assert len(study.sources) == 4 and "p5: 2 label maps: liver_seg.nii, spleen_seg.nii; keep one" in study.problems[0]


@pytest.mark.parametrize(
    ("images", "label"),
    [
        ("images/{}_dwi.nii images/{}_adc.nii", "labels/{}.nii"),
        ("{}_dwi.nii {}_adc.nii", "{}_seg.nii"),
        ("{0}/{0}_dwi.nii {0}/{0}_adc.nii", "{0}/{0}_seg.nii"),
    ],
)
def test_contrasts_of_one_label_map_are_channels(tmp_path: Path, images: str, label: str) -> None:
    names = ("x", "y", "z")
    for name in names:
        touch(tmp_path, f"{images} {label}".format(*[name] * 3))
    study = read_study(tmp_path)
    assert study.channels == ("adc", "dwi") and list(shown(study)) == list(names) and not study.problems
    assert [files[0].rpartition("_")[2] for files, *_ in shown(study).values()] == ["adc.nii"] * 3
    bare = read_study(tmp_path, labels="none")
    assert [(case.case_id, case.images) for case in bare.sources] == [
        (case.case_id, case.images) for case in study.sources
    ]
    assert bare.channels == study.channels


def test_names_meet_in_either_form_of_unicode(tmp_path: Path) -> None:
    composed, apart = "M\u00fcller_1", "Mu\u0308ller_1"
    touch(tmp_path, f"images/{apart}.nii labels/{composed}.nii p/{apart}.nii p/{composed}_seg.nii")
    study = read_study(tmp_path, "pairs")
    assert list(shown(study)) == [composed] and not study.problems
    assert list(shown(read_study(tmp_path / "p"))) == [composed]


def test_folders_of_splits_are_no_patients(tmp_path: Path) -> None:
    touch(
        tmp_path,
        " ".join(
            f"{kind}/{part}/{part}{n}.png" for kind in ("images", "masks") for part in ("train", "val") for n in (1, 2)
        ),
    )
    study = read_study(tmp_path)
    assert {(case.split, case.patient) for case in study.sources} == {("train", None), ("validation", None)}
