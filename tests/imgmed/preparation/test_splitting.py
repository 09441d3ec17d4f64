"""How prepare divides cases: by patients, by the source's own lists and folds, and where there are few."""

import json
import shutil

import pytest

from imgmed import PreparationSettings, prepare_dataset

pytestmark = pytest.mark.slow

SIX = "abcdef"


def entries(names: str) -> list[dict[str, str]]:
    return [{"image": f"imagesTr/{n}.nii.gz", "label": f"labelsTr/{n}.nii.gz"} for n in names]


def parts(dataset) -> tuple[str, str, str]:
    splits = dataset.splits
    return "".join(splits.train), "".join(splits.validation), "".join(splits.test)


def test_two_patients_are_trained_on_with_a_warning(builder, tmp_path):
    dataset = prepare_dataset(builder.fill("ab").index().folder, tmp_path / "out")
    assert parts(dataset) == ("ab", "", "") and len(dataset.splits.folds) == 2
    warnings = "\n".join(dataset.description.warnings)
    assert "no case is kept for validation (2 patients)" in warnings and "no case is kept for the test" in warnings


def test_fractions_of_0(builder, tmp_path):
    settings = PreparationSettings(validation_fraction=0, test_fraction=0)
    assert parts(prepare_dataset(builder.fill(SIX).index().folder, tmp_path / "out", settings)) == (SIX, "", "")


def test_lists_of_the_source_are_kept_unless_they_are_to_be_ignored(builder, tmp_path):
    builder.fill(SIX).index(training=entries("abc"), validation=entries("d"), test=entries("ef"))
    assert parts(prepare_dataset(builder.folder, tmp_path / "kept")) == ("abc", "d", "ef")
    settings = PreparationSettings(source_splits="ignore", seed=1, validation_fraction=0.34, test_fraction=0.17)
    ignored = prepare_dataset(builder.folder, tmp_path / "ignored", settings)
    assert sorted("".join(parts(ignored))) == list(SIX) and list(map(len, parts(ignored))) == [3, 2, 1]


def test_folds_of_the_source(builder, tmp_path):
    """MONAI's fold numbers, and nnU-Net's splits_final.json, which leaves f out."""
    lists = [{**entry, "fold": number % 2} for number, entry in enumerate(entries(SIX))]
    builder.fill(SIX).index(training=lists)
    dataset = prepare_dataset(builder.folder, tmp_path / "monai")
    assert parts(dataset) == ("bdf", "ace", "")
    assert [(fold.train, fold.validation) for fold in dataset.splits.folds] == [
        (("b", "d", "f"), ("a", "c", "e")),
        (("a", "c", "e"), ("b", "d", "f")),
    ]
    folds = [{"train": ["a", "b", "c"], "val": ["d", "e"]}, {"train": ["d", "e"], "val": ["a", "b", "c"]}]
    (builder.folder / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8-sig")
    builder.index()
    dataset = prepare_dataset(builder.folder, tmp_path / "nnunet")
    assert parts(dataset) == ("abc", "de", "") and sorted(dataset.cases) == list("abcde")
    assert "splits_final.json names f in no fold" in dataset.description.skipped[0]
    (builder.folder / "splits_final.json").write_text(json.dumps(folds[:1]))
    dataset = prepare_dataset(builder.folder, tmp_path / "lone")
    assert parts(dataset) == ("abc", "de", "") and len(dataset.splits.folds) == 5


def test_what_a_list_leaves_out_is_told(builder, tmp_path):
    builder.fill(SIX).index(training=[*entries("abcd"), entries("a")[0]], numTraining=6)
    for kind in ("images", "labels"):
        shutil.copytree(builder.folder / f"{kind}Tr", builder.folder / f"{kind}Ts")
    description = prepare_dataset(builder.folder, tmp_path / "out").description
    assert "dataset.json does not list e, f: not used, although labelled" in description.skipped[0]
    assert "imagesTs/ and labelsTs/ hold a, b, c, d, e, f, kept for the test: not used" in description.skipped[1]
    warnings = "\n".join(description.warnings)
    assert "dataset.json lists 1 of its 5 entries twice; each counts once" in warnings
    assert "dataset.json declares 6 training cases (numTraining), 4 can be read" in warnings


@pytest.mark.parametrize("name", ["{}_visit1 {}_visit2", "{}_t1 {}_flair", "{}-2019-01-31 {}-2020-12-01", "{} {}_left"])
def test_scans_whose_names_tell_one_patient_stay_together(builder, tmp_path, name):
    patients = [f"P{number}" for number in range(8)]
    names = [scan for patient in patients for scan in name.format(patient, patient).split()]
    builder.fill(names).index()
    dataset = prepare_dataset(builder.folder, tmp_path / "out")
    assert {case.case_id: case.patient_id for case in dataset.cases.values()} == {scan: scan[:2] for scan in names}
    folders = [{case[:2] for case in cases} for cases in (dataset.splits.train, dataset.splits.validation)]
    assert not folders[0] & folders[1] and any(
        "16 cases count as 8 patients" in w for w in dataset.description.warnings
    )
    own = prepare_dataset(builder.folder, tmp_path / "own", PreparationSettings(patient_pattern="^(.*)$"))
    assert {case.patient_id for case in own.cases.values()} == set(names)


def test_subjects_of_bids_are_their_own_codes(tmp_path, builder, save_nifti):
    for number in range(1, 6):
        for session in ("ses-1", "ses-2"):
            image, label = builder.arrays(10 * number + len(session))
            stem = f"sub-0{number}/{session}/anat/sub-0{number}_{session}_T1w"
            save_nifti(builder.folder / f"{stem}.nii.gz", image + number, builder.affine)
            save_nifti(builder.folder / f"derivatives/labels/{stem}_seg.nii.gz", label, builder.affine)
    dataset = prepare_dataset(builder.folder, tmp_path / "out")
    assert {case.patient_id for case in dataset.cases.values()} == {f"sub-0{n}" for n in range(1, 6)}
    subjects = [{case[:6] for case in cases} for cases in (dataset.splits.train, dataset.splits.test)]
    assert not subjects[0] & subjects[1] and len(dataset.cases) == 10
