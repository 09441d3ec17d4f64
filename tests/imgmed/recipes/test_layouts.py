"""Every layout from a small real tree; names, ambiguity, links, odd names."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imgmed.errors import LabelError, SourceLayoutError, SourceNotFoundError, UnreadableFileError
from imgmed.formats import read_volume
from imgmed.recipe_names import RECIPE_NAMES
from imgmed.recipes import RECIPES, layouts, read_study
from imgmed.recipes.matching import match_names
from imgmed.recipes.names import label_name, split_of
from imgmed.recipes.nnunet import parse_regions
from imgmed.recipes.tree import natural_key, walk
from imgmed.study import CaseSource, Study


def volume(path: Path, value: int = 1) -> None:
    """Write a tiny real file of the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(np.full((4, 3, 2), value, np.uint8), np.eye(4)), path)
    elif name.endswith((".png", ".jpg", ".tif")):
        Image.fromarray(np.full((4, 3), value, np.uint8)).save(path)
    elif name.endswith((".mhd", ".nrrd")):
        import SimpleITK

        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((2, 3, 4), value, np.uint8)), str(path))
    else:
        path.write_bytes(b"something")


def tree(root: Path, names: str) -> Path:
    for name in names.split():
        volume(root / name)
    return root


def shown(study: Study) -> dict[str, tuple[list[str], str | None]]:
    """{case: (images, label)} as paths below the root."""

    def name(path: Path) -> str:
        return path.relative_to(study.root).as_posix()

    return {
        case.case_id: (
            [name(image.path) for image in case.images],
            None if case.label is None else name(case.label.path),
        )
        for case in study.sources
    }


def case(study: Study, case_id: str) -> CaseSource:
    return next(one for one in study.sources if one.case_id == case_id)


def unused(study: Study) -> list[str]:
    return [path.relative_to(study.root).as_posix() for path in study.unused]


KITS = """data/case_00000/imaging.nii.gz data/case_00000/segmentation.nii.gz
 data/case_00010/imaging.nii.gz data/case_00010/segmentation.nii.gz data/case_00010/instances/kidney_1.nii.gz
 data/case_00002/imaging.nii.gz data/case_00002/segmentation.nii.gz data/kits.json LICENSE"""


def test_kits(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, KITS))
    assert study.recipe == "kits" and study.labels == {"background": 0, "kidney": 1, "tumour": 2, "cyst": 3}
    assert list(shown(study)) == ["case_00000", "case_00002", "case_00010"]
    assert shown(study)["case_00000"] == (["data/case_00000/imaging.nii.gz"], "data/case_00000/segmentation.nii.gz")
    assert unused(study) == ["data/case_00010/instances/kidney_1.nii.gz"] and not study.problems
    assert "imaging.nii.gz" in study.reason and read_study(tmp_path, "kits") == study


def test_kits21_has_its_majority_vote(tmp_path: Path) -> None:
    study = read_study(
        tree(
            tmp_path, " ".join(f"case_00001/{n}.nii.gz" for n in ("imaging", "aggregated_MAJ_seg", "aggregated_OR_seg"))
        )
    )
    assert shown(study)["case_00001"][1] == "case_00001/aggregated_MAJ_seg.nii.gz"


def test_kits_cases_without_their_half_are_problems(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, KITS + " data/case_7/imaging.nii.gz data/case_8/segmentation.nii.gz"))
    problems = "\n".join(study.problems)
    assert "case_7/imaging.nii.gz: image without a label; other cases have one like data/case_00000/segm" in problems
    assert "case_8/segmentation.nii.gz: label without an image" in problems and len(study.sources) == 3


@pytest.mark.parametrize("place", ["", "Training Batch 1/"])
def test_lits(tmp_path: Path, place: str) -> None:
    names = [f"{place}volume-{n}.nii" for n in (0, 10, 9)] + [f"segmentations/segmentation-{n}.nii" for n in (0, 9, 10)]
    for name in names:
        volume(tmp_path / name)
    study = read_study(tmp_path)
    assert study.recipe == "lits" and study.labels == {"background": 0, "liver": 1, "tumour": 2}
    assert [source.case_id for source in study.sources] == ["0", "9", "10"]
    assert shown(study)["9"] == ([f"{place}volume-9.nii"], "segmentations/segmentation-9.nii")


def test_lits_numbers_that_occur_twice_are_a_problem(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, "a/volume-0.nii b/volume-0.nii a/segmentation-0.nii"))
    assert any("b/volume-0.nii: same case as a/volume-0.nii" in problem for problem in study.problems)


@pytest.mark.parametrize(
    ("case_id", "names", "patient"),
    [
        ("BraTS20_Training_001", "_flair _t1 _t1ce _t2 _seg", None),
        ("BraTS-GLI-00005-101", "-t1c -t1n -t2f -t2w -seg", "BraTS-GLI-00005"),
    ],
)
def test_brats(tmp_path: Path, case_id: str, names: str, patient: str | None) -> None:
    other = case_id[:-1] + "2"
    for one in (case_id, other):
        tree(tmp_path, " ".join(f"HGG/{one}/{one}{name}.nii.gz" for name in names.split()))
    study = read_study(tmp_path)
    assert study.recipe == "brats" and study.channels == ("T1", "T1c", "T2", "FLAIR")
    found = [name.rpartition("/")[2] for name in shown(study)[case_id][0]]
    order = ("_t1", "_t1ce", "_t2", "_flair") if "_t1" in names else ("-t1n", "-t1c", "-t2w", "-t2f")
    assert found == [f"{case_id}{end}.nii.gz" for end in order]
    assert [source.patient for source in study.sources] == [patient, patient] and study.labels is None
    (tmp_path / "HGG" / other / f"{other}{order[3]}.nii.gz").unlink()
    study = read_study(tmp_path)
    assert len(study.sources) == 1 and "no file for FLAIR, which other cases have" in study.problems[0]


def test_lasc2013(tmp_path: Path) -> None:
    """File names as the challenge's README lists them; headers of test labels name .zraw files."""
    tree(tmp_path, "data/mri/training/a001/image.mhd data/mri/training/a001/gt_binary.mhd")
    tree(
        tmp_path, " ".join(f"data/mri/testing/b002/{n}" for n in ("image.mhd", "gt_std.mhd", "gt_noclip.mhd", "x.vtp"))
    )
    (tmp_path / "data/mri/testing/b002/gt_std.zraw").write_bytes(b"")
    tree(tmp_path, "data/mri/results/UCL_1C/b002/mask.mhd")
    study = read_study(tmp_path)
    assert study.recipe == "lasc2013" and not study.problems
    assert shown(study)["a001"][1] == "data/mri/training/a001/gt_binary.mhd"
    assert shown(study)["b002"] == (["data/mri/testing/b002/image.mhd"], "data/mri/testing/b002/gt_std.mhd")
    assert (case(study, "a001").split, case(study, "b002").split) == ("train", "test")
    rest = unused(study)
    assert "data/mri/testing/b002/gt_noclip.mhd" in rest and "data/mri/testing/b002/x.vtp" in rest
    assert not any(name.endswith(("image.raw", "gt_std.zraw", "gt_binary.raw")) for name in rest)


def test_a_lone_split_says_nothing(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, "training/a001/image.mhd training/a001/gt_binary.mhd"))
    assert study.sources[0].split is None and "all cases lie in one split (train)" in study.notes[0]


def test_nnunet_with_channels_and_regions(tmp_path: Path) -> None:
    tree(tmp_path, "imagesTr/p_1_0000.nii.gz imagesTr/p_1_0001.nii.gz labelsTr/p_1.nii.gz imagesTs/q_0000.nii.gz")
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    index = {"channel_names": {"0": "T1", "1": "T2"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    study = read_study(tmp_path)
    assert (study.recipe, study.channels) == ("nnunet", ("T1", "T2"))
    assert shown(study) == {"p_1": (["imagesTr/p_1_0000.nii.gz", "imagesTr/p_1_0001.nii.gz"], "labelsTr/p_1.nii.gz")}
    assert study.labels == {"background": 0, "label_1": 1, "label_2": 2, "enhancing": 3}
    assert study.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)} and study.ignore_label == 4
    assert (
        unused(study) == ["imagesTs/q_0000.nii.gz"] and "'ignore' (4) marks voxels that count nowhere" in study.notes[0]
    )
    (tmp_path / "imagesTr/p_1_0001.nii.gz").rename(tmp_path / "imagesTr/p_1_0009.txt")
    index["channel_names"]["2"] = "FLAIR"
    volume(tmp_path / "imagesTr/p_1_0001.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    assert "2 files, but dataset.json declares 3 channels (T1, T2, FLAIR)" in read_study(tmp_path).problems[0]


def test_nnunet_of_version_1_lists_names_without_channel_numbers(tmp_path: Path) -> None:
    tree(tmp_path, "imagesTr/la_0000.nii.gz labelsTr/la.nii.gz")
    training = [{"image": "./imagesTr/la.nii.gz", "label": "./labelsTr/la.nii.gz"}]
    index = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "LA"}, "training": training}
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    study = read_study(tmp_path)
    assert study.recipe == "nnunet" and shown(study) == {"la": (["imagesTr/la_0000.nii.gz"], "labelsTr/la.nii.gz")}
    assert study.labels == {"background": 0, "LA": 1} and study.regions is None and not study.problems


def test_nnunet_may_list_its_files(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.nii.gz b/x.nii.gz")
    entry = {"images": ["a/x.nii.gz"], "label": "b/x.nii.gz"}
    dataset = {"x": entry, "y": {"images": ["../y.nii"], "label": "b/x.nii.gz"}, "z": {"images": "a"}}
    index = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "l": 1}, "dataset": dataset}
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    study = read_study(tmp_path)
    assert shown(study) == {"x": (["a/x.nii.gz"], "b/x.nii.gz")}
    assert "'../y.nii' lies outside" in study.problems[0] and "case 'z' needs" in study.problems[1]


def test_regions_must_be_numbers() -> None:
    with pytest.raises(LabelError, match=r"region 'a' needs whole numbers like \[1, 2\]; received \['1'\]"):
        parse_regions({"background": 0, "a": ["1"]}, "dataset.json")


@pytest.mark.parametrize("pair", ["images masks", "image label", "imgs masks", "Images Labels", "ct seg"])
def test_pairs_of_folders(tmp_path: Path, pair: str) -> None:
    images, labels = pair.split()
    tree(tmp_path, f"{images}/10.png {images}/9.png {labels}/10.png {labels}/9.png extra/9.png readme.md")
    study = read_study(tmp_path)
    assert study.recipe == "pairs" and list(shown(study)) == ["9", "10"]
    assert shown(study)["9"] == ([f"{images}/9.png"], f"{labels}/9.png") and unused(study) == ["extra/9.png"]


def test_pairs_within_splits_and_patients(tmp_path: Path) -> None:
    tree(tmp_path, "train/images/1.png train/masks/1.png valid/images/1.png valid/masks/1.png")
    tree(tmp_path, "test/images/s1/1.png test/masks/s1/1.png test/images/s1/2.png test/masks/s1/2.png")
    study = read_study(tmp_path)
    assert {source.case_id: (source.split, source.patient) for source in study.sources} == {
        "test_s1_1": ("test", "s1"),
        "2": ("test", "s1"),
        "train_1": ("train", None),
        "valid_1": ("validation", None),
    }
    assert len(study.sources) == 4 and not study.problems


def test_pairs_in_folders_of_patients(tmp_path: Path) -> None:
    tree(tmp_path, " ".join(f"p{p}/{kind}/{n}.png" for p in (1, 2) for kind in ("images", "masks") for n in (1, 2)))
    study = read_study(tmp_path)
    assert {source.case_id: source.patient for source in study.sources} == {
        "p1_1": "p1",
        "p1_2": "p1",
        "p2_1": "p2",
        "p2_2": "p2",
    }


def test_pairs_of_suffixes(tmp_path: Path) -> None:
    tree(tmp_path, "a.nii.gz a_seg.nii.gz b_ct.nrrd b_ct_seg-manual.nrrd c_image.nii c_label.nii")
    study = read_study(tmp_path)
    assert study.recipe == "pairs" and not study.problems and not study.unused
    assert shown(study) == {
        "a": (["a.nii.gz"], "a_seg.nii.gz"),
        "b": (["b_ct.nrrd"], "b_ct_seg-manual.nrrd"),
        "c": (["c_image.nii"], "c_label.nii"),
    }
    volume(tmp_path / "lonely.nii")
    assert "lonely.nii: image without a label; expected one like" in read_study(tmp_path).problems[0]


def test_one_volume_and_its_label(tmp_path: Path) -> None:
    root = tree(tmp_path / "my scan", "image.nii.gz segmentation.nii.gz")
    assert shown(read_study(root)) == {"my scan": (["image.nii.gz"], "segmentation.nii.gz")}


@pytest.mark.parametrize(
    ("stems", "pairs", "doubtful"),
    [
        ("img_001 mask_001 img_002 mask_002", {"img_001": "mask_001", "img_002": "mask_002"}, []),
        ("lung_1 lung_seg_1 lung_2 lung_seg_2", {"lung_1": "lung_seg_1", "lung_2": "lung_seg_2"}, []),
        ("x_4ch x_seg_fused", {"x_4ch": "x_seg_fused"}, []),
        ("x_ct_sm x_seg x_seg_dicom", {"x_ct_sm": "x_seg"}, []),
        ("x x_seg_a x_seg_b y y_seg", {"y": "y_seg"}, ["x"]),
        ("x_t1 x_t2 x_seg y y_seg", {"y": "y_seg"}, ["x_t1", "x_t2", "x_seg"]),
        ("z_seg y y_seg", {"y": "y_seg"}, ["z_seg"]),
        ("p10 p1 p1_seg p10_seg", {"p1": "p1_seg", "p10": "p10_seg"}, []),
        ("masked gtx", {}, []),
        ("a b", {}, []),
    ],
)
def test_names_meet(stems: str, pairs: dict[str, str], doubtful: list[str]) -> None:
    found, doubts = match_names(stems.split())
    assert found == pairs and sorted(doubts) == sorted(doubtful)


@pytest.mark.parametrize("stem", ["masked", "segment", "gtx", "roll", "labels1"])
def test_words_for_labels_stand_alone(stem: str) -> None:
    assert label_name(stem) is None


def test_classification(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, "cat/1.png cat/2.png dog/1.png README.md"))
    assert (study.recipe, study.task) == ("classification", "classification")
    assert {source.case_id: source.category for source in study.sources} == {"cat_1": "cat", "2": "cat", "dog_1": "dog"}
    assert all(source.label is None and source.split is None for source in study.sources)


def test_classification_with_splits(tmp_path: Path) -> None:
    study = read_study(tree(tmp_path, "Train/a/1.png Train/b/2.png val/a/3.png TEST/b/4.jpg"))
    assert [(s.case_id, s.category, s.split) for s in study.sources] == [
        ("4", "b", "test"),
        ("1", "a", "train"),
        ("2", "b", "train"),
        ("3", "a", "validation"),
    ]


def test_folders_of_volumes_are_classes_only_when_named(tmp_path: Path) -> None:
    """They could as well be patients whose labels are missing."""
    tree(tmp_path, "p1/a.nii.gz p2/b.nii.gz")
    with pytest.raises(SourceLayoutError, match="no image/label pairs"):
        read_study(tmp_path)
    assert [source.category for source in read_study(tmp_path, "classification").sources] == ["p1", "p2"]


def test_npz_of_medmnist(tmp_path: Path) -> None:
    images = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    arrays = {f"{split}_images": images[:n] for split, n in (("train", 5), ("val", 2), ("test", 1))}
    arrays |= {f"{split}_labels": np.arange(n)[:, None] % 2 for split, n in (("train", 5), ("val", 2), ("test", 1))}
    np.savez_compressed(tmp_path / "mini.npz", **arrays)
    study = read_study(tmp_path)
    assert (study.recipe, study.name, study.task, len(study.sources)) == ("npz", "mini", "classification", 8)
    third = study.sources[3]
    assert (third.case_id, third.images[0].entry, third.category, third.split) == (
        "train_3",
        "train_images/3",
        "1",
        "train",
    )
    assert [source.split for source in study.sources] == ["train"] * 5 + ["validation"] * 2 + ["test"]
    np.testing.assert_array_equal(read_volume(third.images[0]).array[:, :, 0], images[3])
    assert read_study(tmp_path / "mini.npz").sources == study.sources


@pytest.mark.parametrize("noun", ["masks", "labels"])
def test_npz_with_masks(tmp_path: Path, noun: str) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((11, 4, 3, 3)), **{noun: np.ones((11, 4, 3), np.uint8)})
    study = read_study(tmp_path)
    assert study.task == "segmentation" and len(study.sources) == 11
    assert (study.sources[10].case_id, str(study.sources[10].label)) == ("a_10", f"{tmp_path}/a.npz[{noun}/10]")


def test_npz_that_cannot_be_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((4, 3, 3)), train_labels=np.zeros((4, 14)))
    with pytest.raises(SourceLayoutError, match="several labels for one picture"):
        read_study(tmp_path)
    np.savez(tmp_path / "a.npz", train_images=np.zeros((4, 3, 3)), train_labels=np.zeros((5, 1)))
    with pytest.raises(SourceLayoutError, match=r"train_images has shape \(4, 3, 3\), but train_labels \(5, 1\)"):
        read_study(tmp_path)
    np.savez(tmp_path / "a.npz", weights=np.zeros(3))
    with pytest.raises(SourceLayoutError, match="no image/label pairs"):
        read_study(tmp_path)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", images=np.zeros((4, 3, 3)), labels=np.zeros(4))
    with pytest.raises(SourceLayoutError, match=r"2 \.npz files with images \(a\.npz, b\.npz\); name one"):
        read_study(tmp_path)
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(UnreadableFileError, match=r"b\.npz: no \.npz that can be read"):
        read_study(tmp_path)


def test_npz_files_deeper_down_are_not_the_study(tmp_path: Path) -> None:
    tree(tmp_path, "images/a.nii labels/a.nii")
    (tmp_path / "cache").mkdir()
    np.savez(tmp_path / "cache" / "a.npz", images=np.zeros((4, 3, 3)), labels=np.zeros(4))
    assert read_study(tmp_path).recipe == "pairs"


def test_more_left_over_than_used_is_worth_a_note(tmp_path: Path) -> None:
    tree(tmp_path, "one/images/a.nii one/labels/a.nii " + " ".join(f"two/{n}.mha" for n in range(21)))
    study = read_study(tmp_path)
    assert study.notes == (
        "21 files belong to no case, 2 do; does the source hold several studies, or another layout?",
    )


def test_several_layouts_at_once_are_an_error_that_names_them(tmp_path: Path) -> None:
    tree(tmp_path, "case_0/imaging.nii case_0/segmentation.nii volume-1.nii segmentation-1.nii")
    with pytest.raises(SourceLayoutError, match=r"fits several layouts: kits \(1 cases.*; lits \(1 cases.*--recipe"):
        read_study(tmp_path)
    assert read_study(tmp_path, "lits").recipe == "lits" and read_study(tmp_path, "kits").recipe == "kits"


def test_pairs_beside_folders_of_patients_are_ambiguous(tmp_path: Path) -> None:
    tree(tmp_path, "atlas.nii atlas_mask.nii p1/ct.nii p1/seg.nii p2/ct.nii p2/seg.nii")
    with pytest.raises(SourceLayoutError, match=r"pairs \(1 cases.*; patients \(2 cases"):
        read_study(tmp_path)
    assert len(read_study(tmp_path, "patients").sources) == 2


def test_a_wrapper_folder_is_entered_and_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "down load", "Task/Task/images/a.nii Task/Task/labels/a.nii Task/readme.txt")
    (root / "__MACOSX/Task/images").mkdir(parents=True)
    (root / "__MACOSX/Task/images/._a.nii").write_bytes(b"apple")
    tree(tmp_path / "other", "Study/case.nii Study/case_seg.nii")
    assert shown(read_study(root)) == {"a": (["Task/Task/images/a.nii"], "Task/Task/labels/a.nii")}
    study = read_study(tmp_path / "other")
    assert study.root == tmp_path / "other" / "Study" and study.notes == (
        f"read from the folder Study within {tmp_path / 'other'}",
    )


@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_an_index_in_a_wrapper_folder_counts_before_the_names_of_folders(tmp_path: Path, key: str) -> None:
    """nnU-Net's, and MSD's with its list."""
    labels = {"background": 0, "liver": 1, "ignore": 2}
    index, name = {"labels": labels, "file_ending": ".nii.gz"}, "imagesTr/a_0000.nii.gz"
    if key == "modality":
        name = "imagesTr/a.nii.gz"
        index = {
            "labels": {"0": "background", "1": "liver"},
            "training": [{"image": name, "label": "labelsTr/a.nii.gz"}],
        }
    tree(tmp_path / "down/Task", f"{name} labelsTr/a.nii.gz")
    (tmp_path / "down/Task/dataset.json").write_text(json.dumps(index | {key: {"0": "CT"}, "numTraining": 1}))
    study = read_study(tmp_path / "down")
    assert study.recipe == ("nnunet" if key == "channel_names" else "msd")
    assert (study.channels, study.labels) == (("CT",), {"background": 0, "liver": 1})
    assert study.ignore_label == (2 if key == "channel_names" else None)
    assert study.root == tmp_path / "down/Task"


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    store = tree(tmp_path / "store", "i/a.nii l/a.nii")
    root = tmp_path / "root"
    (root / "labels").mkdir(parents=True)
    (root / "images").symlink_to(store / "i")
    (root / "labels" / "a.nii").symlink_to(store / "l" / "a.nii")
    (root / "labels" / "again").symlink_to(root)
    (root / "broken.nii").symlink_to(tmp_path / "nowhere")
    study = read_study(root)
    assert shown(study) == {"a": (["images/a.nii"], "labels/a.nii")} and not study.unused
    assert read_volume(study.sources[0].images[0]).shape == (4, 3, 2)


@pytest.mark.parametrize("name", ["Patiënt 1", "患者一", "a'b\"c", "[p] (1) *?", "100%", "-x"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    root = tmp_path / f"Ordner {name}"
    for kind in ("images", "labels"):
        volume(root / kind / f"{name}.nii.gz")
    assert list(shown(read_study(root))) == [name]


def test_hidden_and_system_files_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "images/a.nii labels/a.nii images/._a.nii .git/x.nii __MACOSX/y.nii images/Thumbs.db images/odd.xyz")
    study = read_study(tmp_path)
    assert unused(study) == ["images/odd.xyz"] and not study.problems


def test_names_sort_as_people_count(tmp_path: Path) -> None:
    names = ["a10", "a9", "B1", "a9b", "٣", "²"]
    assert sorted(names, key=natural_key)[:2] == ["٣", "a9"] and len(sorted(names, key=natural_key)) == 6
    assert natural_key("a1") != natural_key("A1")
    assert walk(tree(tmp_path, "p10/1.nii p9/2.nii p9/10.nii")).files == ("p9/2.nii", "p9/10.nii", "p10/1.nii")


@pytest.mark.parametrize(("folders", "split"), [("a/Val/b", "validation"), ("tests/x", None), ("train/test", "train")])
def test_splits_are_whole_names(folders: str, split: str | None) -> None:
    assert split_of(folders.split("/")) == split


def test_every_layout_is_described() -> None:
    assert list(RECIPE_NAMES) == list(dict.fromkeys(recipe.name for recipe in RECIPES)) and all(layouts().values())
    page = (Path(__file__).parents[3] / "docs" / "reference" / "layouts.md").read_text()
    assert all(f"`{name}`" in page for name in RECIPE_NAMES)


def test_archives_and_other_files_are_no_sources(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(SourceNotFoundError, match=r"a\.tar\.gz is an archive; unpack it"):
        read_study(tmp_path / "a.tar.gz")
    with pytest.raises(SourceLayoutError, match=r"series '\(' is no regular expression"):
        read_study(tmp_path, series="(")
