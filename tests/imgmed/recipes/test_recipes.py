import json
from pathlib import Path

import pytest

from imgmed.errors import LabelError, SourceLayoutError, SourceNotFoundError, UnknownRecipeError
from imgmed.recipes import read_study


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def write_index(folder: Path, **content: object) -> Path:
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def case_ids(study) -> list[str]:
    return [source.case_id for source in study.sources]


@pytest.mark.parametrize("folders", [("images", "labels"), ("imagesTr", "labelsTr")])
def test_pairs_meet_by_stem(tmp_path: Path, folders):
    images, labels = folders
    touch(tmp_path, f"{images}/b.nii", f"{images}/a.nii.gz", f"{labels}/a.nii", f"{labels}/b.nii.gz")
    touch(tmp_path, f"{images}/.hidden.nii", f"{images}/notes.txt")
    study = read_study(tmp_path)
    assert study.recipe == "pairs" and study.name == tmp_path.name
    assert [(s.case_id, s.images[0].path.name, s.label.path.name) for s in study.sources] == [
        ("a", "a.nii.gz", "a.nii"),
        ("b", "b.nii", "b.nii.gz"),
    ]
    assert study.labels is None and study.channels is None and not study.problems


def test_channels_in_files_of_their_own_belong_together(tmp_path: Path):
    touch(tmp_path, "imagesTr/p_0001.nii.gz", "imagesTr/p_0000.nii.gz", "labelsTr/p.nii.gz")
    touch(tmp_path, "imagesTr/scan_2019.nii.gz", "labelsTr/scan_2019.nii.gz")
    study = read_study(tmp_path)
    assert [(s.case_id, [image.path.name for image in s.images]) for s in study.sources] == [
        ("p", ["p_0000.nii.gz", "p_0001.nii.gz"]),
        ("scan_2019", ["scan_2019.nii.gz"]),
    ]


def test_a_case_that_lacks_a_channel_is_named_once(tmp_path: Path):
    touch(tmp_path, "images/p_0000.nii", "images/p_0001.nii", "images/q_0001.nii", "labels/p.nii", "labels/q_seg.nii")
    study = read_study(tmp_path)
    assert case_ids(study) == ["p"]
    (problem,) = study.problems
    assert problem.endswith("q_0001.nii: channels are numbered from 0 on, and there is no q_0000")


def test_files_without_partner_are_all_named(tmp_path: Path):
    touch(tmp_path, "images/a.nii", "images/lonely.nii", "images/a.nii.gz", "labels/a.nii", "labels/left.nii")
    problems = "\n".join(read_study(tmp_path).problems)
    assert "lonely.nii: image without a label; expected" in problems and "labels/lonely.nii" in problems
    assert "left.nii: label without an image; expected" in problems and "images/left.nii" in problems
    assert "a.nii.gz: same case name as a.nii" in problems


def test_label_names_of_pairs_come_from_labels_json(tmp_path: Path):
    touch(tmp_path, "images/a.nii", "labels/a.nii")
    (tmp_path / "labels.json").write_text('{"liver": 1, "tumour": 2}')
    assert read_study(tmp_path).labels == {"background": 0, "liver": 1, "tumour": 2}
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(LabelError, match=r"labels\.json: not valid JSON"):
        read_study(tmp_path)


def test_msd_is_read_from_its_index(tmp_path: Path):
    touch(tmp_path, "imagesTr/b.nii.gz", "labelsTr/b.nii.gz", "imagesTr/unlisted.nii.gz")
    write_index(
        tmp_path,
        name="Two",
        modality={"1": "T1", "0": "FLAIR"},
        labels={"0": "background", "1": "core"},
        training=[{"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"}],
    )
    study = read_study(tmp_path)
    assert (study.recipe, study.name, study.channels) == ("msd", "Two", ("FLAIR", "T1"))
    assert study.labels == {"background": 0, "core": 1}
    assert case_ids(study) == ["b"] and not study.problems


def test_a_list_of_monai_may_have_any_name_and_several_images(tmp_path: Path):
    touch(tmp_path, *(f"data/{name}.nii.gz" for case in "ab" for name in (f"{case}_t1", f"{case}_t2", f"{case}_lab")))
    touch(tmp_path, "kits.json")
    entries = [{"image": [f"data/{c}_t1.nii.gz", f"data/{c}_t2.nii.gz"], "label": f"data/{c}_lab.nii.gz"} for c in "ab"]
    content = json.dumps({"modality": "MRI", "training": entries[:1], "validation": entries[1:]})
    (tmp_path / "datalist.json").write_bytes(content.encode("utf-16"))  # as PowerShell writes it
    study = read_study(tmp_path)
    assert (study.recipe, study.channels, study.labels) == ("msd", None, None)
    assert [(s.case_id, s.split, [image.path.name for image in s.images]) for s in study.sources] == [
        ("a", "train", ["a_t1.nii.gz", "a_t2.nii.gz"]),
        ("b", "validation", ["b_t1.nii.gz", "b_t2.nii.gz"]),
    ]
    assert not study.problems


def test_a_list_of_other_words_is_not_passed_over(tmp_path: Path):
    """The folders alone would give these cases too, but not the list's division."""
    touch(tmp_path, "images/a.nii", "labels/a.nii", "images/b.nii", "labels/b.nii")
    entries = [{"img": f"images/{case}.nii", "seg": f"labels/{case}.nii"} for case in "ab"]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries[:1], "validation": entries[1:]}))
    study = read_study(tmp_path)
    assert not study.sources
    assert f'datalist.json: a case of "training" needs "image" and "label"; received {entries[0]}' in study.problems[0]
    usual = [{"image": f"images/{case}.nii", "label": f"labels/{case}.nii"} for case in "ab"]
    (tmp_path / "usual.json").write_text(json.dumps({"training": usual}))
    study = read_study(tmp_path)  # beside a list of the usual words, the other one does not count
    assert (study.recipe, case_ids(study)) == ("msd", ["a", "b"])
    (tmp_path / "usual.json").unlink()
    for entry in entries:
        entry["img"] = "augment"  # no files: settings of something else
        entry["seg"] = "shuffle"
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries}))
    assert case_ids(read_study(tmp_path)) == ["a", "b"]


def test_paths_of_an_index_may_be_absolute_or_of_windows(tmp_path: Path):
    touch(tmp_path, "imagesTr/a.nii", "labelsTr/a.nii", "imagesTr/b.nii", "labelsTr/b.nii")
    (tmp_path / "link").symlink_to(tmp_path)
    training = [
        {"image": str(tmp_path / "imagesTr" / "a.nii"), "label": str(tmp_path / "link" / "labelsTr" / "a.nii")},
        {"image": "imagesTr\\b.nii", "label": ".\\labelsTr\\b.nii"},
    ]
    write_index(tmp_path, labels={"1": "x"}, training=training)
    study = read_study(tmp_path)
    assert case_ids(study) == ["a", "b"] and not study.problems


def test_one_label_map_of_two_images_is_a_problem(tmp_path: Path):
    touch(tmp_path, *(f"{kind}/{name}.nii" for kind in ("i", "l") for name in "abc"))
    training = [{"image": f"i/{i}.nii", "label": f"l/{label}.nii"} for i, label in ("aa", "ba", "cc")]
    write_index(tmp_path, labels={"1": "x"}, training=training)
    study = read_study(tmp_path)
    assert case_ids(study) == ["c"]
    assert study.problems == (
        f"{tmp_path}/l/a.nii: dataset.json lists it as the label of 2 images (a.nii, b.nii); correct the list",
    )


def test_nnunets_index_without_list_uses_the_folders(tmp_path: Path):
    touch(tmp_path, "imagesTr/b_0000.nii.gz", "labelsTr/b.nii.gz")
    write_index(tmp_path, channel_names={"0": "CT"}, labels={"background": 0, "core": 1}, file_ending=".nii.gz")
    study = read_study(tmp_path)
    assert study.channels == ("CT",) and case_ids(study) == ["b"]


@pytest.mark.parametrize("outside", ["../secret.nii.gz", "/etc/passwd", "imagesTr/../../secret.nii.gz"])
def test_entries_stay_within_the_source(tmp_path: Path, outside):
    source = tmp_path / "source"
    touch(tmp_path, "secret.nii.gz", "source/labelsTr/b.nii.gz")
    write_index(source, labels={"1": "a"}, training=[{"image": outside, "label": "labelsTr/b.nii.gz"}])
    study = read_study(source)
    assert not study.sources
    assert len(study.problems) == 1 and "lies outside the source folder" in study.problems[0]
    assert repr(outside) in study.problems[0]


def test_msd_entries_that_make_no_case_are_all_named(tmp_path: Path):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/b.nii.gz", "imagesTr/c.nii.gz", "labelsTr/c.nii.gz")
    pair = {"image": "imagesTr/c.nii.gz", "label": "labelsTr/c.nii.gz"}
    write_index(
        tmp_path,
        labels={"1": "a"},
        training=[
            {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"},
            {"image": "imagesTr/b.nii.gz", "label": "labelsTr/b.nii.gz"},
            {"image": "imagesTr/x.nii.gz", "label": "labelsTr/x.nii.gz"},
            "imagesTr/c.nii.gz",
            pair,
            pair,
        ],
    )
    study = read_study(tmp_path)
    problems = "\n".join(study.problems)
    assert "a.nii.gz: image without a label" in problems
    assert "b.nii.gz: label without an image" in problems
    assert "'imagesTr/x.nii.gz' and 'labelsTr/x.nii.gz', which are both missing" in problems
    assert 'needs "image" and "label"; received \'imagesTr/c.nii.gz\'' in problems
    assert case_ids(study) == ["c"] and "lists 1 of its 2 entries twice" in study.notes[0]


def test_no_such_folder(tmp_path: Path):
    with pytest.raises(SourceNotFoundError, match=r"nowhere does not exist"):
        read_study(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceNotFoundError, match=r"file is no folder"):
        read_study(tmp_path / "file")


def test_a_folder_without_pairs_is_told_in_a_line(tmp_path: Path):
    def message(**options: str) -> str:
        with pytest.raises(SourceLayoutError) as caught:
            read_study(tmp_path, **options)
        return str(caught.value)

    assert message() == f"no image/label pairs in {tmp_path}: the folder is empty"
    touch(tmp_path, "notes/readme.txt", "notes/b.txt")
    assert message().startswith(f"no image/label pairs in {tmp_path}: of its 2 files none is DICOM or ends in .nii.gz,")
    touch(tmp_path, "a/x.nii", "b/y.nii")
    assert "2 files can be read, none of them named like a label map (_seg ...). 'r2d2 inspect --lay" in message()
    assert message(recipe="lits").endswith(
        "The layout lits is volume-0.nii and segmentation-0.nii, in one or several folders (LiTS)"
    )
    touch(tmp_path, "images/readme.txt", "labels/readme.txt")
    assert len(message()) < 300


def test_links_to_nothing_are_left_out_with_the_reason(tmp_path: Path):
    touch(tmp_path, "images/a.nii", "labels/a.nii", "images/c.nii")
    for name in ("images/b.nii", "labels/b.nii", "labels/c.nii"):
        (tmp_path / name).symlink_to(".git/annex/objects/x")
    study = read_study(tmp_path)
    assert case_ids(study) == ["a"] and "c.nii: image without a label" in study.problems[0]
    assert [line.partition("; fetch")[0] for line in study.left_out] == [
        f"{tmp_path}/images: b.nii is a link to nothing",
        f"{tmp_path}/labels: b.nii, c.nii are links to nothing",
    ]
    for name in ("images/a.nii", "images/c.nii", "labels/a.nii"):
        (tmp_path / name).unlink()
    with pytest.raises(SourceLayoutError, match="its 3 scans are links to nothing; fetch the files"):
        read_study(tmp_path)


def test_an_asked_for_recipe_must_fit(tmp_path: Path):
    touch(tmp_path, "images/a.nii", "labels/a.nii")
    assert read_study(tmp_path, "pairs").recipe == "pairs"
    with pytest.raises(SourceLayoutError, match="The layout msd is a"):
        read_study(tmp_path, "msd")
    with pytest.raises(UnknownRecipeError, match=r"unknown recipe 'dicom'; use auto, msd, nnunet, .*pairs, patients"):
        read_study(tmp_path, "dicom")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "expected an object"),
        ('{"schema_version": 1}', "prepared dataset already"),
        ('{"labels": {"1": "a"}}', "no image/label pairs"),
        ('{"labels": {"1": "a"}, "training": []}', "lists no case"),
        ('{"labels": {"1": "a"}, "training": 3}', "must be a list"),
    ],
)
def test_unusable_indexes(tmp_path: Path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(SourceLayoutError, match=message):
        read_study(tmp_path)


def test_unusable_modality_and_labels(tmp_path: Path):
    touch(tmp_path, "imagesTr/b.nii.gz", "labelsTr/b.nii.gz")
    training = [{"image": "imagesTr/b.nii.gz", "label": "labelsTr/b.nii.gz"}]
    write_index(tmp_path, labels={"1": "a"}, modality={"x": "MRI"}, training=training)
    with pytest.raises(SourceLayoutError, match="modality"):
        read_study(tmp_path)
    write_index(tmp_path, training=training, labels=["liver"])
    with pytest.raises(LabelError, match=r"dataset\.json: labels must be like"):
        read_study(tmp_path)
    write_index(tmp_path, training=training)
    assert read_study(tmp_path).labels is None  # MONAI's lists declare none
