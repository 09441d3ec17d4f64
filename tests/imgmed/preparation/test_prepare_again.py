"""Preparing once more: nothing to do, cases added, broken cases left out, copies found, splits given or kept."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset
from imgmed.errors import (
    DuplicateCasesError,
    InvalidCasesError,
    InvalidSplitsError,
    LabelError,
    LeakError,
    PatientKeyError,
    SourceNotFoundError,
)
from imgmed.preparation.survey import SurveyedCase, SurveyRecord, name_problems
from imgmed.study import CaseSource
from r2d2_base.errors import OutputExistsError

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def contents(folder):
    """{file: bytes} of a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def place_of(dataset, case_id):
    """The part and the fold that hold a case."""
    return dataset.splits.part_of[case_id], dataset.splits.fold_of.get(case_id)


class TestNothingToDo:
    def test_no_file_is_touched(self, study, out) -> None:
        prepare_dataset(study.folder, out)
        before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.rglob("*")}
        again = prepare_dataset(study.folder, out, finish=lambda dataset: pytest.fail("something was done"))
        assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.rglob("*")} == before
        assert sorted(again.cases) == list("abcde")

    def test_a_changed_file_is_noticed(self, study, out) -> None:
        first = prepare_dataset(study.folder, out).case("b").sha256
        study.add("b", *study.arrays(11))
        second = prepare_dataset(study.folder, out)
        assert second.case("b").sha256 != first
        assert list(contents(out)) and not (out / "journal").exists()
        np.testing.assert_array_equal(
            second.image("b"), prepare_dataset(study.folder, out.with_name("fresh")).image("b")
        )

    @pytest.mark.parametrize("change", [{"seed": 1}, {"normalisation": "zscore_dataset"}])
    def test_other_settings_are_refused(self, study, out, change) -> None:
        prepare_dataset(study.folder, out)
        before = contents(out)
        with pytest.raises(OutputExistsError, match=f"prepared otherwise .{next(iter(change))} was"):
            prepare_dataset(study.folder, out, PreparationSettings(**change))
        assert contents(out) == before

    def test_another_content_of_the_splits_file_is_followed(self, study, out, tmp_path) -> None:
        settings = PreparationSettings(splits=tmp_path / "splits.json")
        for train, test in ("abc", "e"), ("ebc", "a"), ("ebc", "a"):
            settings.splits.write_text(
                json.dumps({"train": list(train), "validation": ["d"], "test": list(test)}), encoding="utf-8"
            )
            assert prepare_dataset(study.folder, out, settings).splits.test == (test,)
        prepare_dataset(study.folder, out, settings, finish=lambda dataset: pytest.fail("something was done"))

    def test_other_variants_of_copies_are_refused(self, study, out) -> None:
        settings, few = PreparationSettings(augment_to=60), AugmentationSettings(rotation_degrees=5)
        written = prepare_dataset(study.folder, out, settings, augmentation=few)
        assert written.description.augmentation == few
        prepare_dataset(study.folder, out, settings, augmentation=few, finish=lambda dataset: pytest.fail("done again"))
        with pytest.raises(OutputExistsError, match="copies were augmented by other settings"):
            prepare_dataset(study.folder, out, settings)

    def test_another_source_is_refused(self, study, out, tmp_path) -> None:
        prepare_dataset(study.folder, out)
        shutil.copytree(study.folder, tmp_path / "other")
        with pytest.raises(OutputExistsError, match=r"the source was .*study"):
            prepare_dataset(tmp_path / "other", out)


class TestCasesAdded:
    def test_old_cases_keep_their_place(self, builder, out) -> None:
        names = [f"case{number:02d}" for number in range(8)]
        builder.fill(names).index()
        old = prepare_dataset(builder.folder, out)
        places = {name: place_of(old, name) for name in names}
        arrays = {p.name: p.stat().st_ino for p in (out / "arrays").iterdir()}
        for number in range(8, 16):
            builder.add(f"case{number:02d}", *builder.arrays(number))
        builder.index()
        new = prepare_dataset(builder.folder, out)
        assert len(new.cases) == 16
        assert {name: place_of(new, name) for name in names} == places
        kept = {p.name: p.stat().st_ino for p in (out / "arrays").iterdir() if p.name in arrays}
        assert kept == arrays, "arrays that still fit were made again"

    def test_cases_taken_away_are_gone(self, builder, out) -> None:
        builder.fill("abcdefghijklmnop").index()
        old = prepare_dataset(builder.folder, out)
        gone = old.splits.train[0]
        builder.image_path(gone).unlink()
        builder.label_path(gone).unlink()
        builder.index()
        new = prepare_dataset(builder.folder, out)
        assert gone not in new.cases
        assert not [name for name in contents(out) if f"/{gone}." in name]
        assert {c: p for c, p in old.splits.part_of.items() if c != gone} == new.splits.part_of

    def test_a_copy_of_an_old_case_joins_it(self, builder, out) -> None:
        builder.fill("abcdefgh").index()
        old = prepare_dataset(builder.folder, out)
        source = old.splits.test[0]
        image, label = builder.arrays("abcdefgh".index(source))
        builder.add("z", 2 * image + 5, label)
        builder.index()
        new = prepare_dataset(builder.folder, out)
        assert "z" in new.splits.test
        assert len(new.description.warnings) == 1 and "their labels agree" in new.description.warnings[0]

    def test_an_error_leaves_the_old_dataset(self, builder, out) -> None:
        builder.fill("abcdefgh").index()
        prepare_dataset(builder.folder, out)
        before = contents(out)
        builder.image_path("c").write_bytes(b"no scan")
        with pytest.raises(InvalidCasesError):
            prepare_dataset(builder.folder, out)
        assert contents(out) == before
        assert sorted(p.name for p in out.parent.iterdir()) == ["out", "study"]


class TestBrokenCases:
    def test_are_left_out_with_their_reasons(self, builder, out) -> None:
        builder.fill("abcdef").index()
        builder.image_path("b").write_bytes(b"no scan")
        builder.label_path("d").unlink()
        dataset = prepare_dataset(builder.folder, out, PreparationSettings(on_error="skip"))
        assert sorted(dataset.cases) == list("acef")
        reasons = dataset.description.skipped
        assert len(reasons) == 2 and all(any(name in r for r in reasons) for name in ("b.nii.gz", "d.nii.gz"))

    def test_if_none_is_left_all_are_named(self, builder, out) -> None:
        builder.fill("abc").index()
        for name in "abc":
            builder.image_path(name).write_bytes(b"no scan")
        with pytest.raises(InvalidCasesError, match="3 problems among 3 cases"):
            prepare_dataset(builder.folder, out, PreparationSettings(on_error="skip"))


class TestCopies:
    def copied(self, builder):
        """A study of six cases; "z" is "c" turned, rescaled, with another label map."""
        builder.fill("abcdef")
        image, label = builder.arrays(2)
        turned = nib.Nifti1Image((0.5 * image - 3).astype(np.float32), builder.affine).as_reoriented(
            [[1, -1], [0, 1], [2, -1]]
        )
        other = nib.Nifti1Image(label * np.uint8(1), builder.affine).as_reoriented([[1, -1], [0, 1], [2, -1]])
        labels = np.asarray(other.dataobj).copy()
        labels[labels == 2] = 1
        builder.add("z", np.asarray(turned.dataobj), labels, turned.affine)
        return builder.index()

    def test_stay_on_one_side_with_a_warning(self, builder, out) -> None:
        dataset = prepare_dataset(self.copied(builder).folder, out)
        assert place_of(dataset, "c") == place_of(dataset, "z")
        (warning,) = dataset.description.warnings
        assert "imagesTr/c.nii.gz" in warning and "imagesTr/z.nii.gz" in warning and "DIFFER" in warning

    def test_can_be_made_an_error(self, builder, out) -> None:
        with pytest.raises(DuplicateCasesError, match=r"c .*and z .*same image content"):
            prepare_dataset(self.copied(builder).folder, out, PreparationSettings(on_duplicate="stop"))
        assert not out.exists()

    def test_in_given_splits_are_an_error(self, builder, out, tmp_path) -> None:
        given = {"train": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f", "z"]}
        (tmp_path / "splits.json").write_text(json.dumps(given))
        settings = PreparationSettings(splits=tmp_path / "splits.json")
        with pytest.raises(LeakError, match=r"(?s)c.*z"):
            prepare_dataset(self.copied(builder).folder, out, settings)
        given["train"].append("z")
        given["test"].remove("z")
        (tmp_path / "splits.json").write_text(json.dumps(given))
        dataset = prepare_dataset(builder.folder, out, settings)
        assert dataset.splits.train == ("a", "b", "c", "z") and dataset.splits.test == ("e", "f")

    def test_in_kept_splits_are_an_error(self, builder, out) -> None:
        """The copy takes the place of an independent case of another part."""
        builder.fill("abcdefgh").index()
        splits = prepare_dataset(builder.folder, out).splits
        image, label = builder.arrays("abcdefgh".index(splits.train[0]))
        builder.add(splits.test[0], 3 * image, label)
        with pytest.raises(LeakError, match=splits.test[0]):
            prepare_dataset(builder.folder, out)

    def test_given_splits_must_name_every_case(self, study, out, tmp_path) -> None:
        (tmp_path / "splits.json").write_text(json.dumps({"train": ["a", "x"], "validation": ["b"], "test": ["c"]}))
        with pytest.raises(InvalidSplitsError, match=r"(?s)not in the study: x.*missing: d, e"):
            prepare_dataset(study.folder, out, PreparationSettings(splits=tmp_path / "splits.json"))


class TestChoices:
    def test_channels_by_number(self, builder, out) -> None:
        for number, name in enumerate("abcd"):
            image, label = builder.arrays(number)
            builder.add(name, np.stack([image, 10 * image, 100 * image], axis=3), label)
        builder.index(modality={"0": "FLAIR", "1": "T1w", "2": "T2w"})
        dataset = prepare_dataset(builder.folder, out, PreparationSettings(channels=("t2w", 0)))
        assert dataset.channels == ("T2w", "FLAIR") and dataset.scan_preparation.channel_indices == (2, 0)
        assert dataset.scan_preparation.source_channels == ("FLAIR", "T1w", "T2w")
        image = dataset.image("a")
        np.testing.assert_allclose(image[..., 0], 100 * image[..., 1], rtol=1e-5)

    def test_channels_of_a_file_get_names_and_all_cases_have_the_same(self, builder, out) -> None:
        for number, name in enumerate("abcd"):
            image, label = builder.arrays(number)
            builder.add(name, np.stack([image, 10 * image, 100 * image][: 2 if name == "d" else 3], axis=3), label)
        named = PreparationSettings(channel_names=("FLAIR", "T1", "T2"), channels=("t1",))
        with pytest.raises(
            InvalidCasesError, match=r"d\.nii\.gz: 2 channels, but the study declares 3 \(FLAIR, T1, T2\)"
        ):
            prepare_dataset(builder.folder, out, named)
        with pytest.raises(InvalidCasesError, match=r"d\.nii\.gz: 2 channels, but 3 other cases have 3"):
            prepare_dataset(builder.folder, out, PreparationSettings(channels=(1,)))
        dataset = prepare_dataset(builder.folder, out, named.model_copy(update={"on_error": "skip"}))
        assert dataset.channels == ("T1",) and sorted(dataset.cases) == ["a", "b", "c"]
        image = np.asarray(nib.load(builder.image_path("a")).dataobj)[..., 1]
        assert dataset.case_statistics("a").highest[0] <= image.max() and dataset.case_statistics("a").mean[0] > 10
        assert dataset.scan_preparation.source_channels == ("FLAIR", "T1", "T2")

    def test_labels_merged_and_grouped(self, study, out) -> None:
        settings = PreparationSettings(remap_labels={2: 1}, labels={"box": 1})
        dataset = prepare_dataset(study.folder, out, settings)
        assert dataset.labels == {"background": 0, "box": 1}
        assert np.unique(dataset.label_map("a")).tolist() == [0, 1]
        assert np.unique(np.asarray(nib.load(dataset.reference("a")).dataobj)).tolist() == [0, 1]
        regions = prepare_dataset(study.folder, out.with_name("r"), PreparationSettings(regions={"whole": (1, 2)}))
        assert regions.description.regions == {"whole": (1, 2)}

    def test_slices_are_chosen_for_training_alone(self, study, out) -> None:
        dataset = prepare_dataset(study.folder, out, PreparationSettings(slices={"within_labels": True}))
        assert dataset.image("a").shape[0] == 6
        assert dataset.case("a").training_slices == (1, 2, 3)

    def test_references_are_the_labels_in_the_scans_voxels(self, study, out) -> None:
        dataset = prepare_dataset(study.folder, out)
        for name in "abcde":
            source, kept = nib.load(study.label_path(name)), nib.load(dataset.reference(name))
            np.testing.assert_array_equal(np.asarray(kept.dataobj), np.asarray(source.dataobj))
            np.testing.assert_allclose(kept.affine, source.affine)

    def test_copies_enlarge_the_training_part_alone(self, builder, out) -> None:
        builder.fill("abcdefgh").index()
        plain = prepare_dataset(builder.folder, out)
        larger = prepare_dataset(builder.folder, out.with_name("larger"), PreparationSettings(augment_to=70))
        copies = [case for case in larger.cases.values() if case.augmented_from is not None]
        slices = sum(
            len(case.training_slices) if case.training_slices is not None else case.grid.slices
            for case in (larger.case(case_id) for case_id in larger.splits.train)
        )
        assert slices == 70 and copies
        assert larger.original_splits == plain.splits
        for fold in larger.splits.folds:
            assert not {c.case_id for c in copies} & set(fold.validation)
            for case in copies:
                assert (case.case_id in fold.train) == (case.augmented_from in fold.train)

    def test_several_processes_make_the_same(self, study, out) -> None:
        one = prepare_dataset(study.folder, out)
        several = prepare_dataset(study.folder, out.with_name("several"), workers=3)
        assert contents(one.folder) == contents(several.folder)


class TestPatients:
    def folders(self, tmp_path, study):
        """One folder a patient, two visits each, in MSD's place."""
        source = tmp_path / "patients"
        for number in range(6):
            image, label = study.arrays(number)
            for kind, array in (("image", image), ("label", label)):
                path = source / f"patient {number}" / f"{kind}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(array, study.affine), path)
        return source

    def test_named_by_the_layout_are_hashed(self, tmp_path, study, out) -> None:
        source = self.folders(tmp_path, study)
        with pytest.raises(PatientKeyError, match=r"key_file.*patient_ids=plain"):
            prepare_dataset(source, out)
        dataset = prepare_dataset(source, out, key_file=tmp_path / "secret" / "key")
        assert all(case.patient_id.startswith("p") and len(case.patient_id) == 17 for case in dataset.cases.values())
        again = prepare_dataset(source, out.with_name("again"), key_file=tmp_path / "secret" / "key")
        assert [c.patient_id for c in again.cases.values()] == [c.patient_id for c in dataset.cases.values()]
        plain = prepare_dataset(source, out.with_name("plain"), PreparationSettings(patient_ids="plain"))
        assert {c.patient_id for c in plain.cases.values()} == {f"patient {n}" for n in range(6)}

    @pytest.mark.parametrize("place", ["out", "patients"])
    def test_the_key_may_not_lie_with_the_data(self, tmp_path, study, out, place) -> None:
        source = self.folders(tmp_path, study)
        with pytest.raises(PatientKeyError, match="lies inside"):
            prepare_dataset(source, out, key_file=tmp_path / place / "key")
        assert not (tmp_path / place / "key").exists()


def test_unusual_names_and_links(builder, tmp_path) -> None:
    builder.fill(["Fall 1", "näve_é", "日本", "d.e", "f"])
    link = tmp_path / "a link"
    link.symlink_to(builder.folder)
    out = tmp_path / "mit Leerzeichen ü" / "out"
    dataset = prepare_dataset(link, out)
    assert sorted(dataset.cases) == sorted(["Fall 1", "näve_é", "日本", "d.e", "f"])
    assert PreparedDataset.read(out).image("日本").shape[0] == 6


class TestPlaces:
    def test_the_dataset_may_not_join_its_source(self, study) -> None:
        before = sorted(path.name for path in study.folder.iterdir())
        for out in (study.folder, study.folder / "deeper" / "out"):
            with pytest.raises(OutputExistsError, match=r"lies in the source|is no prepared dataset"):
                prepare_dataset(study.folder, out)
        assert sorted(path.name for path in study.folder.iterdir()) == before

    def test_a_missing_splits_file_is_told_before_anything_is_read(self, study, out, tmp_path) -> None:
        stages = []
        with pytest.raises(SourceNotFoundError, match=r"splits file .*none\.json does not exist"):
            prepare_dataset(
                study.folder,
                out,
                PreparationSettings(splits=tmp_path / "none.json"),
                progress=lambda stage, done, total: stages.append(stage),
            )
        assert stages == []

    def test_enough_slices_are_said_to_be_enough(self, study, out) -> None:
        dataset = prepare_dataset(study.folder, out, PreparationSettings(augment_to=3))
        assert any("no copies made" in sentence for sentence in dataset.description.warnings)

    def test_a_region_may_not_be_called_like_another_label(self, study, out) -> None:
        with pytest.raises(LabelError, match=r"region 'shell' holds 2 without the label of that name, 1"):
            prepare_dataset(study.folder, out, PreparationSettings(regions={"shell": (2,)}))

    def test_a_crop_that_misses_a_scan_names_it(self, study, out) -> None:
        crop = {"op": "crop", "mm": [[900, 950], None, None]}
        said = r"imagesTr/\w\.nii\.gz: the box to crop to holds no voxel"
        with pytest.raises(InvalidCasesError, match=said) as caught:
            prepare_dataset(study.folder, out, PreparationSettings(operations=(crop,)))
        assert len(caught.value.problems) == 5


def test_cases_that_are_called_alike_once_names_are_hidden_are_named(study, out) -> None:
    prepare_dataset(study.folder, out)
    path = next((out / "survey").glob("*.json"))
    record = SurveyRecord.model_validate_json(path.read_text())
    other = record.model_copy(update={"case_id": "another"})
    source = CaseSource(record.case_id, (), None)
    cases = [SurveyedCase(source, one, path) for one in (record, other, record)]
    problems = name_problems(cases)
    assert len(problems) == 2 and all(f"case {record.case_id} is one of 2" in problem for problem in problems)
    assert name_problems(cases[:2]) == []
