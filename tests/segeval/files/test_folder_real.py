import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

import segeval
from segeval import CasePair
from segeval.files.label_map import case_id_of
from tests.segeval.studies import without_paths

pytestmark = pytest.mark.slow


@pytest.mark.real_data
def test_real_label_maps(real_data):
    """Forty real references against themselves: perfect scores, and volumes as anatomy has them."""
    folder = real_data / "hippocampus_msd" / "labelsTr"
    paths = sorted(folder.glob("[!.]*.nii.gz"))[:40]
    pairs = [CasePair(path.name.removesuffix(".nii.gz"), path, path) for path in paths]
    evaluation = segeval.evaluate_pairs(pairs, {"anterior": 1, "posterior": 2})
    assert len(evaluation.cases) == 40
    assert evaluation.foreground["dice"].mean == 1
    assert evaluation.foreground["hd95_mm"].mean == 0
    volumes = [score.reference_ml for case in evaluation.cases for score in case.scores]
    assert 0.5 < np.mean(volumes) < 3  # half a hippocampus has one to two millilitres


@pytest.mark.real_data
def test_raters_against_their_fusion(real_data):
    """Segmentations of one tumour; Dice of whole tumour and core counted with NumPy alone."""
    folder = real_data / "brain_tcga_lgg_4ch"
    fused = folder / "TCGA-FG-6692_seg_fused.nii.gz"
    raters = sorted((folder / "raters").glob("*.nii.gz"))[:2]
    pairs = [CasePair(path.name.removesuffix(".nii.gz"), fused, path, "TCGA-FG-6692") for path in raters]
    regions = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": 4}
    chosen = segeval.Conventions(metrics=("dice",))
    evaluation = segeval.evaluate_pairs(pairs, regions, conventions=chosen)
    reference = np.asanyarray(nibabel.load(fused).dataobj)
    for case, path in zip(evaluation.cases, raters, strict=True):
        prediction = np.asanyarray(nibabel.load(path).dataobj)
        for score, values in zip(case.scores, ((1, 2, 4), (1, 4), (4,)), strict=True):
            first, second = np.isin(reference, values), np.isin(prediction, values)
            assert score["dice"] == pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()))
    assert evaluation.means["dice"]["whole"].mean > 0.85
    assert any("fewer than two patients" in warning for warning in evaluation.warnings)


@pytest.mark.real_data
def test_dcmqi_label_maps_in_nrrd_against_their_dicom(real_data, tmp_path):
    """The liver is 1 in the NRRD and 255 in what ITK reads from the DICOM SEG; both lie in the same place."""
    folder = real_data / "dicom_ct_seg_dcmqi"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(folder / "liver.dcm")), str(tmp_path / "liver.mha"), True)
    pairs = [
        CasePair("alone", folder / "liver_seg.nrrd", tmp_path / "liver.mha"),
        CasePair("with spine", folder / "liver_spine_seg.nrrd", tmp_path / "liver.mha"),
    ]
    evaluation = segeval.evaluate_pairs(pairs, {"liver": (1, 255), "spine": 2})
    liver, spine = zip(*(case.scores for case in evaluation.cases), strict=True)
    assert [(score["dice"], score["hausdorff_mm"], score.n_ref) for score in liver] == [(1, 0, 107098)] * 2
    assert [score.status for score in spine] == ["both_empty", "prediction_empty"]
    assert spine[1].n_ref == 12439


@pytest.mark.real_data
def test_real_hippocampi_in_any_format(real_data, tmp_path):
    """Predictions: the references moved by a voxel."""
    for path in sorted((real_data / "hippocampus_msd" / "labelsTr").glob("[!.]*.nii.gz"))[:4]:
        image = SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkUInt8)
        moved = SimpleITK.GetImageFromArray(np.roll(SimpleITK.GetArrayFromImage(image), 1, axis=0))
        moved.CopyInformation(image)
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            for side, written in (("reference", image), ("prediction", moved)):
                out = tmp_path / suffix / side
                out.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(written, str(out / f"{case_id_of(path)}{suffix}"), True)
    labels = {"anterior": 1, "posterior": 2}
    evaluations = [
        segeval.evaluate_folder(
            tmp_path / suffix / "reference", tmp_path / suffix / "prediction", labels, workers=workers
        )
        for suffix, workers in ((".nii.gz", 1), (".nrrd", 2), (".mha", 2))
    ]
    assert len({without_paths(evaluation) for evaluation in evaluations}) == 1
    assert 0.5 < evaluations[0].foreground["dice"].mean < 0.95


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "instances"), [("nuclei_dsb2018/labels", True), ("em_isbi2012/masks", False)])
def test_real_pictures(real_data, tmp_path, folder, instances):
    """Nuclei as 0/255 masks, membranes as they are, against themselves with the last two rows missing."""
    for path in sorted((real_data / folder).glob("*.png"))[:6]:
        labels = np.asarray(Image.open(path))
        mask = np.where(labels > 0, 255, 0).astype(np.uint8) if instances else labels
        cut = mask.copy()
        cut[-2:] = 0
        for side, array in (("reference", mask), ("prediction", cut)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / side / path.name)
    evaluation = segeval.evaluate_folder(tmp_path / "reference", tmp_path / "prediction")
    assert evaluation.labels == {"label 255": 255}
    assert 0.9 < evaluation.foreground["dice"].mean < 1
    assert evaluation.pooled.confusion[0, 1] == 0  # nothing was added
