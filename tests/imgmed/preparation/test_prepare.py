import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, prepare_scan, read_volume
from imgmed.errors import (
    ImgMedError,
    InvalidCasesError,
    LabelError,
    NotADatasetError,
    SchemaVersionError,
    SourceLayoutError,
    SourceNotFoundError,
    UnknownCaseError,
)
from imgmed.preparation.casework import JOURNAL
from r2d2_base.errors import CancelledError, OutputExistsError
from r2d2_base.progress import StopRequest

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def assert_nothing_remains(out: Path) -> None:
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["study"]


def refused(study, out: Path, kind=InvalidCasesError, **settings) -> str:
    """Prepare what must be refused; nothing may remain; return the message."""
    with pytest.raises(kind) as caught:
        prepare_dataset(study.folder, out, PreparationSettings(**settings))
    assert isinstance(caught.value, ImgMedError)
    assert_nothing_remains(out)
    return str(caught.value)


class TestGoodStudy:
    def test_arrays_hold_the_case_in_canonical_order(self, study, out):
        dataset = prepare_dataset(study.folder, out)
        image, label = study.arrays(0)
        found = dataset.image("a")
        assert isinstance(found, np.memmap) and found.dtype == np.float32 and found.shape == (6, 12, 10, 1)
        low, high = np.percentile(image, [0.5, 99.5])
        expected = np.clip(image, low, high).transpose(2, 0, 1)[..., None]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(dataset.label_map("a"), label.transpose(2, 0, 1))
        assert dataset.label_map("a").dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0, 0, 0] = 1

    def test_facts_about_the_study(self, study, out):
        dataset = prepare_dataset(study.folder, out)
        assert (dataset.name, dataset.channels) == ("Boxes", ("MRI",))
        assert dataset.labels == {"background": 0, "shell": 1, "core": 2}
        assert dataset.class_values == (0, 1, 2)
        assert dataset.source_root == study.folder.resolve()
        assert sorted(dataset.cases) == list("abcde")
        assert sorted(dataset.splits.train + dataset.splits.validation + dataset.splits.test) == list("abcde")
        assert dataset.scan_preparation.slice_axis == 2
        assert dataset.scan_preparation.slice_size == (16, 16)
        assert set(dataset.description.reasons) == {
            "kind",
            "slice_axis",
            "spacing_mm",
            "slice_size",
            "normalisation",
            "clipping",
        }

    def test_facts_about_a_case(self, study, out):
        case = prepare_dataset(study.folder, out).case("b")
        _, label = study.arrays(1)
        assert case.images[0].files == ("imagesTr/b.nii.gz",) and case.label.path == "labelsTr/b.nii.gz"
        digest = hashlib.sha256(study.image_path("b").read_bytes()).hexdigest()
        assert case.sha256["imagesTr/b.nii.gz"] == digest
        assert case.shape == (12, 10, 6) and case.spacing_mm == (1, 1, 3) and case.patient_id == "b"
        assert case.label_counts == {
            name: int((label == value).sum()) for value, name in enumerate(["background", "shell", "core"])
        }
        assert case.slice_range == (1, 4)

    def test_the_files_alone_give_everything_back(self, study, out):
        first = prepare_dataset(study.folder, out)
        again = PreparedDataset.read(out)
        assert (again.description, again.cases, again.splits) == (
            first.description,
            first.cases,
            first.splits,
        )

    def test_statistics_follow_from_the_stored_arrays(self, study, out):
        dataset = prepare_dataset(study.folder, out, PreparationSettings(normalisation="zscore_dataset"))
        ids = ["a", "c"]
        pixels = np.concatenate([dataset.image(name).ravel() for name in ids]).astype(np.float64)
        rule = dataset.normalisation(ids)
        assert rule.kind == "zscore_dataset"
        np.testing.assert_allclose(rule.mean, pixels.mean(), rtol=1e-12)
        np.testing.assert_allclose(rule.std, pixels.std(), rtol=1e-9)
        assert dataset.description.intensity == dataset.normalisation(dataset.splits.train)
        np.testing.assert_allclose(dataset.case_statistics("a").mean, dataset.image("a").astype(np.float64).mean())

    def test_clipping_of_a_dataset_comes_from_labelled_training_voxels(self, study, out):
        dataset = prepare_dataset(study.folder, out, PreparationSettings(normalisation="zscore_dataset"))
        labelled = []
        for name in dataset.splits.train:
            image, label = study.arrays("abcde".index(name))
            labelled.append(image[label > 0])
        expected = np.percentile(np.concatenate(labelled).astype(np.float64), [0.5, 99.5])
        np.testing.assert_allclose(dataset.scan_preparation.operations[1].bounds, [expected], rtol=1e-9)
        for name in dataset.cases:
            assert dataset.image(name).min() >= expected[0] - 1e-3
            assert dataset.image(name).max() <= expected[1] + 1e-3

    def test_a_scan_from_elsewhere_is_prepared_alike(self, study, out):
        for kind in ("zscore_case", "zscore_dataset"):
            folder = out / kind
            dataset = prepare_dataset(study.folder, folder, PreparationSettings(normalisation=kind))
            scan = prepare_scan(read_volume(study.image_path("d")), dataset.scan_preparation)
            np.testing.assert_array_equal(scan.image, dataset.image("d"))
            assert scan.grid == dataset.grid("d")
            assert scan.bounds == dataset.case("d").clip_bounds

    def test_label_maps_come_back_to_the_source_voxels(self, study, out):
        """Cases stored in different orientations and spacings restore to their own files."""
        turned = np.array([[0, 0, 3.0, 5], [-1, 0, 0, 7], [0, -1, 0, 9], [0, 0, 0, 1]])
        image, label = study.arrays(7, (12, 10, 6))
        study.add("f", image, label, turned)
        fine = np.zeros((24, 20, 6), np.uint8)
        fine[5:17, 3:14, 1:4] = 1
        study.add("g", study.arrays(8, fine.shape)[0], fine, np.diag([-0.5, -0.5, 3.0, 1.0]))
        study.index()
        dataset = prepare_dataset(study.folder, out, PreparationSettings(slice_axis=2, spacing_mm=(1, 1, 1)))
        for name in dataset.cases:
            stored = nib.load(study.label_path(name))
            restored = dataset.grid(name).restore(dataset.label_map(name), order=0)
            reference = np.asarray(stored.dataobj)
            assert restored.shape == reference.shape
            np.testing.assert_array_equal(dataset.grid(name).affine, stored.affine)
            overlap = 2 * ((restored > 0) & (reference > 0)).sum() / ((restored > 0).sum() + (reference > 0).sum())
            assert overlap == 1 if name in "abcde" else overlap > 0.8
        assert dataset.image("g").shape == (6, 12, 10, 1)

    def test_channels_in_the_fourth_axis(self, builder, out):
        for number, name in enumerate("abc"):
            image, label = builder.arrays(number)
            builder.add(name, np.stack([image, 10 * image], axis=-1), label)
        builder.index(modality={"0": "T1", "1": "T2"})
        dataset = prepare_dataset(builder.folder, out)
        assert dataset.channels == ("T1", "T2") and dataset.image("a").shape == (6, 12, 10, 2)
        mean = dataset.case_statistics("a").mean
        assert mean[1] == pytest.approx(10 * mean[0], rel=1e-6)

    def test_channels_in_files_of_their_own(self, builder, save_nifti, out):
        for number, name in enumerate("abc"):
            image, label = builder.arrays(number)
            save_nifti(builder.image_path(f"{name}_0000"), image, builder.affine)
            save_nifti(builder.image_path(f"{name}_0001"), 10 * image, builder.affine)
            save_nifti(builder.label_path(name), label, builder.affine)
        dataset = prepare_dataset(builder.folder, out)
        assert dataset.channels == ("channel_0", "channel_1")
        paths = tuple(image.path for image in dataset.case("a").images)
        assert paths == (
            "imagesTr/a_0000.nii.gz",
            "imagesTr/a_0001.nii.gz",
        )
        np.testing.assert_allclose(dataset.image("a")[..., 1], 10 * dataset.image("a")[..., 0], rtol=1e-5)

    def test_labels_of_pairs_are_found_in_the_data(self, builder, out):
        builder.fill("abc")
        dataset = prepare_dataset(builder.folder, out)
        assert dataset.description.recipe == "pairs" and dataset.channels == ("image",)
        assert dataset.labels == {"background": 0, "label_1": 1, "label_2": 2}
        named = prepare_dataset(
            builder.folder, out.parent / "named", PreparationSettings(labels={"whole": 1, "core": 2})
        )
        assert named.labels == {"background": 0, "whole": 1, "core": 2}

    def test_whole_numbers_stored_as_float_and_large_labels(self, builder, out):
        for number, name in enumerate("abc"):
            image, label = builder.arrays(number)
            builder.add(name, image, (300.0 * label).astype(np.float32))
        dataset = prepare_dataset(builder.folder, out)
        assert dataset.class_values == (0, 300, 600) and dataset.label_map("a").dtype == np.uint16

    def test_a_constant_image_is_no_fault(self, study, save_nifti, out):
        save_nifti(study.image_path("c"), np.full((12, 10, 6), 5, np.int16), study.affine)
        dataset = prepare_dataset(study.folder, out)
        rule = dataset.normalisation(dataset.splits.train)
        z = rule.apply(dataset.image("c"), *rule.statistics_of_case(dataset.case_statistics("c")))
        np.testing.assert_array_equal(z, 0)

    def test_progress_names_both_passes(self, study, out):
        told = []
        prepare_dataset(study.folder, out, progress=lambda *news: told.append(news))
        for stage in ("reading", "preparing"):
            assert [done for name, done, total in told if name == stage and total == 5] == list(range(6))

    def test_patients_stay_together(self, builder, out):
        builder.fill([f"p{patient}_{side}" for patient in range(4) for side in "lr"])
        dataset = prepare_dataset(builder.folder, out, PreparationSettings(patient_pattern="^(p[0-9]+)_"))
        assert dataset.case("p2_r").patient_id == "p2"
        for part in (dataset.splits.train, dataset.splits.validation, dataset.splits.test):
            assert len(part) == 2 * len({name.split("_")[0] for name in part})


class TestBadInput:
    def test_truncated_image(self, study, out):
        path = study.image_path("b")
        path.write_bytes(path.read_bytes()[:-200])
        message = refused(study, out)
        assert "\n" not in message and f"{path}: truncated or damaged" in message

    def test_different_shape(self, study, save_nifti, out):
        save_nifti(study.label_path("b"), np.zeros((12, 10, 7), np.uint8), study.affine)
        message = refused(study, out)
        assert "12 x 10 x 6" in message and "12 x 10 x 7" in message
        assert "imagesTr/b.nii.gz" in message and "labelsTr/b.nii.gz" in message and "\n" not in message

    def test_different_affine(self, study, save_nifti, out):
        save_nifti(study.label_path("b"), study.arrays(1)[1], np.diag([1.0, 1.01, 3.0, 1.0]))
        message = refused(study, out)
        assert "(1, 1.01, 3) mm against (1, 1, 3) mm" in message
        assert "imagesTr/b.nii.gz" in message and "labelsTr/b.nii.gz" in message

    def test_labels_that_are_not_whole(self, study, save_nifti, out):
        save_nifti(study.label_path("b"), study.arrays(1)[1] * np.float32(0.5), study.affine)
        assert "labelsTr/b.nii.gz: labels must be whole numbers" in refused(study, out)

    def test_labels_that_are_not_declared(self, study, save_nifti, out):
        save_nifti(study.label_path("b"), study.arrays(1)[1] * np.uint8(3), study.affine)
        message = refused(study, out)
        assert "labelsTr/b.nii.gz: label values 3, 6 are not declared" in message
        assert "found 0, 3, 6" in message and "0 background, 1 shell, 2 core" in message

    def test_nan_and_infinity(self, study, save_nifti, out):
        image, _ = study.arrays(1)
        image[0, 0, :3] = np.nan
        image[1, 1, 1] = np.inf
        save_nifti(study.image_path("b"), image, study.affine)
        assert "imagesTr/b.nii.gz: 4 NaN or infinite voxels" in refused(study, out)

    def test_other_channels(self, study, builder, save_nifti, out):
        save_nifti(study.image_path("b"), np.zeros((12, 10, 6, 2), np.float32), study.affine)
        assert "imagesTr/b.nii.gz: 2 channels, but the study declares 1 (MRI)" in refused(study, out)
        (study.folder / "dataset.json").unlink()
        assert "imagesTr/b.nii.gz: 2 channels, but 4 other cases have 1" in refused(study, out)

    def test_image_without_label_and_label_without_image(self, study, out):
        study.label_path("b").unlink()
        study.image_path("c").unlink()
        message = refused(study, out)
        assert "imagesTr/b.nii.gz: image without a label" in message
        assert "labelsTr/c.nii.gz: label without an image" in message

    def test_all_faults_are_reported_together(self, study, save_nifti, out):
        study.image_path("a").write_bytes(b"no nifti")
        save_nifti(study.label_path("b"), np.zeros((1, 2, 3), np.uint8), study.affine)
        study.label_path("c").unlink()
        with pytest.raises(InvalidCasesError) as caught:
            prepare_dataset(study.folder, out)
        assert len(caught.value.problems) == 3
        assert "3 problems among 4 cases" in str(caught.value)
        for name in ("imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "imagesTr/c.nii.gz"):
            assert sum(name in problem for problem in caught.value.problems) == 1

    def test_spacings_far_from_the_others_are_named_or_left_out(self, builder, out):
        """Two headers of nine count in micrometres what the others have in millimetres; no array is made of them."""
        study = builder.fill(list("abcdefghi"))
        for number, name in enumerate("be"):
            study.add(name, *study.arrays(20 + number), np.diag([1000.0, 1000, 3000, 1]))
        message = refused(study, out)
        assert "2 problems among 9 cases" in message
        for name in "be":
            assert f"{name}.nii.gz: 6 x 12 x 10 voxels of 3000 x 1000 x 1000 mm would become" in message
        dataset = prepare_dataset(study.folder, out, PreparationSettings(on_error="skip"))
        assert sorted(dataset.cases) == list("acdfghi") and len(dataset.description.skipped) == 2
        assert dataset.scan_preparation.slice_size == (16, 16)

    def test_no_label_anywhere(self, builder, save_nifti, out):
        builder.fill("abc")
        for name in "abc":
            save_nifti(builder.label_path(name), np.zeros((12, 10, 6), np.uint8), builder.affine)
        assert "background only" in refused(builder, out, LabelError)

    def test_unpaired_files_are_told_first(self, builder, out):
        builder.fill("abc").index()
        builder.label_path("b").unlink()
        assert "b.nii.gz: image without a label" in refused(builder, out)

    def test_patient_pattern_that_does_not_fit(self, study, out):
        assert "finds no patient in case 'a'" in refused(study, out, SourceLayoutError, patient_pattern="(p[0-9])")

    def test_no_such_folder(self, study, out):
        with pytest.raises(SourceNotFoundError, match="nowhere"):
            prepare_dataset(study.folder / "nowhere", out)
        assert_nothing_remains(out)

    def test_out_in_use_is_not_touched(self, study, out):
        out.mkdir()
        (out / "mine").write_text("1")
        with pytest.raises(OutputExistsError, match="exists and is no prepared dataset"):
            prepare_dataset(study.folder, out)
        assert [path.name for path in out.iterdir()] == ["mine"]

    @pytest.mark.parametrize("stage", ["reading", "preparing"])
    def test_interruption_keeps_what_was_done_for_the_next_run(self, study, out, stage):
        def interrupt(name: str, done: int, total: int) -> None:
            if (name, done) == (stage, 3):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(study.folder, out, progress=interrupt)
        assert not out.exists()
        prepare_dataset(study.folder, out)
        assert sorted(path.name for path in out.parent.iterdir()) == ["out", "study"]

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_request_to_stop_keeps_what_was_done_for_the_next_run(self, study, out, workers):
        stop = StopRequest()

        def ask(name: str, done: int, total: int) -> None:
            if (name, done) == ("preparing", 3):
                stop.make("no time")

        with pytest.raises(CancelledError, match="no time"):
            prepare_dataset(study.folder, out, workers=workers, progress=ask, stop=stop)
        unfinished = out.with_name(f".{out.name}.unfinished")
        cases = [entry.stem for entry in (unfinished / JOURNAL).glob("*.json")]  # of others, some files may be there
        done = {path.name: path.stat().st_ino for case in cases for path in (unfinished / "arrays").glob(f"{case}.*")}
        assert 3 <= len(cases) <= len(done) and not out.exists()
        prepare_dataset(study.folder, out)
        assert done.items() <= {path.name: path.stat().st_ino for path in (out / "arrays").iterdir()}.items()
        assert sorted(path.name for path in out.parent.iterdir()) == ["out", "study"]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"recipe": "dicom"}, "unknown recipe 'dicom'; use auto, msd, nnunet"),
            ({"patient_pattern": "("}, "no regular expression"),
            ({"patient_pattern": "p"}, "needs a group"),
            ({"validation_fraction": 0.5, "test_fraction": 0.5}, "must leave patients to train on"),
            ({"spacing_mm": (1, 0, 1)}, "three positive numbers"),
            ({"labels": {"a": 1, "b": 1}}, "a value of its own"),
            ({"slice_axis": 3}, "slice_axis"),
            ({"keep_labels": ()}, "at least one; received"),
            ({"keep_labels": (0, 1)}, "numbers from 1 to 65535"),
            (
                {"mask_threshold": 1, "remap_labels": "foreground"},
                "mask_threshold makes one label of a mask; leave out",
            ),
            ({"spatial_units": "inch"}, "spatial_units"),
            ({"label_codes": {"liver": "SCT:10200004"}}, "a code is SCHEME:VALUE:MEANING.*received 'SCT:10200004'"),
            ({"colour": 1}, "colour"),
        ],
    )
    def test_settings_that_make_no_sense(self, wrong, message):
        with pytest.raises(ValidationError, match=message):
            PreparationSettings.model_validate(wrong)


class TestReadingDatasets:
    @pytest.fixture
    def dataset(self, study, out) -> PreparedDataset:
        return prepare_dataset(study.folder, out)

    @pytest.mark.parametrize("name", ["dataset.json", "cases.json", "splits.json"])
    def test_another_schema_version(self, dataset, name):
        path = dataset.folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
        with pytest.raises(SchemaVersionError, match=rf"{name}.*version 99, expected 2; run 'r2d2 prepare' again"):
            PreparedDataset.read(dataset.folder)

    def test_no_prepared_dataset(self, study, tmp_path):
        with pytest.raises(NotADatasetError, match=r"study is not a prepared dataset .*run 'r2d2 prepare .*study"):
            PreparedDataset.read(study.folder)
        (tmp_path / "empty").mkdir()
        with pytest.raises(NotADatasetError, match=r"empty is not a prepared dataset: it has no dataset\.json"):
            PreparedDataset.read(tmp_path / "empty")
        with pytest.raises(SourceNotFoundError, match="nowhere does not exist"):
            PreparedDataset.read(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["dataset.json", "cases.json", "splits.json"])
    def test_damaged_files(self, dataset, name):
        path = dataset.folder / name
        text = path.read_text()
        for damaged in (text[: len(text) // 2], '{"schema_version": 2}'):
            path.write_text(damaged)
            with pytest.raises(NotADatasetError, match="damaged"):
                PreparedDataset.read(dataset.folder)

    def test_damaged_arrays(self, dataset):
        path = next((dataset.folder / "arrays").glob("a.image.npy"))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(NotADatasetError, match=r"a\.image\.npy: missing or damaged"):
            dataset.image("a")
        path.unlink()
        with pytest.raises(NotADatasetError, match=r"a\.image\.npy: missing or damaged"):
            dataset.image("a")

    def test_unknown_case(self, dataset):
        for ask in (dataset.image, dataset.label_map, dataset.grid, dataset.case_statistics):
            with pytest.raises(UnknownCaseError, match="no case 'z' among 5 cases"):
                ask("z")

    def test_a_model_card_can_hold_the_preparation(self, dataset):
        preparation = dataset.scan_preparation
        assert type(preparation).model_validate_json(preparation.model_dump_json()) == preparation

    def test_the_same_study_prepared_twice_is_the_same(self, dataset, study):
        other = prepare_dataset(study.folder, dataset.folder.parent / "other")
        files = sorted(path.relative_to(dataset.folder) for path in dataset.folder.rglob("*") if path.is_file())
        assert len(files) == 4 + (2 + 1 + 2) * 5  # descriptions; arrays, references and records of the survey
        for path in files:
            assert (dataset.folder / path).read_bytes() == (other.folder / path).read_bytes()
