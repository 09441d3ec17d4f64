"""Agreement with other libraries: with what `make compare-peers` recorded of them. Keras: tests/dist_training."""

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

import segeval
from segeval.empty_conventions import ON_EMPTY
from tests.segeval.peers.comparison import COMPARISONS, EXACT, SINGLE, largest_difference
from tests.segeval.peers.differences import DIFFERENCES
from tests.segeval.peers.libraries import LIBRARIES, monai, nnunet, torchmetrics
from tests.segeval.peers.masks import IGNORE_LABEL, digest, label_map_pairs, mask_pairs, study_pairs
from tests.segeval.peers.record import FOLDER, STUDY_REGIONS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
VERSIONS = json.loads((FOLDER / "versions.json").read_text())
PER_CLASS_METRICS = ("dice", "jaccard")


@pytest.fixture(scope="module")
def recorded():
    """What each library said, by its name; label maps' arrays start with "label_maps"."""
    return {name: np.load(FOLDER / f"{name}.npz") for name in LIBRARIES}


def declared(pair):
    return {str(label): label for label in range(1, pair.classes)}


class TestRecord:
    def test_masks_are_those_of_the_record(self):
        assert digest() == VERSIONS["masks_sha256"]

    def test_versions_are_the_pinned_ones(self):
        lines = (REPOSITORY / "requirements" / "peers.txt").read_text().splitlines()
        pinned = dict(line.split("==") for line in lines if "==" in line)
        assert {name: pinned[name] for name in VERSIONS["libraries"]} == VERSIONS["libraries"]

    def test_thousands_of_masks_of_every_kind(self):
        assert len(mask_pairs()) >= 2500
        assert {pair.emptiness for pair in mask_pairs()} == {
            "measured",
            "both_empty",
            "reference_empty",
            "prediction_empty",
        }
        assert any(pair.label == 255 for pair in mask_pairs())
        assert any(pair.reference.shape.count(1) == 2 for pair in mask_pairs())

    def test_record_is_small(self):
        assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000

    def test_every_metric_is_compared_with_another_implementation(self):
        of_structures = {name for name, metric in segeval.METRICS.items() if metric.family != "lesion"}
        assert {comparison.metric for comparison in COMPARISONS} == of_structures


class TestAgreement:
    @pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
    def test_masks(self, comparison, recorded):
        compared = comparison.compared()
        assert compared.any()
        ours = comparison.our_values()[compared]
        theirs = comparison.their_values(recorded[comparison.library])[compared]
        assert np.isfinite(theirs).sum() > 50
        assert largest_difference(ours, theirs) <= comparison.tolerance

    @pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
    def test_deliberate_differences_are_real(self, difference, recorded):
        shown = [index for index, pair in enumerate(mask_pairs()) if difference.where(pair)]
        shown = shown[:: max(1, len(shown) // 60)]
        ours = [
            segeval.evaluate(
                pair.reference,
                pair.prediction,
                {"structure": pair.label},
                pair.spacing_mm,
                metrics=(difference.metric,),
                **dict(difference.choices),
            ).scores[0][difference.metric]
            for pair in (mask_pairs()[index] for index in shown)
        ]
        theirs = recorded[difference.library][difference.theirs][shown].astype(np.float64)
        assert largest_difference(np.array(ours), theirs) > 0.01

    @pytest.mark.parametrize("difference", [d for d in DIFFERENCES if d.is_reproduced], ids=lambda d: d.name)
    def test_what_is_reproduced_is_compared(self, difference):
        """Among the pairs of its comparison are those on which it shows."""
        [comparison] = [
            comparison
            for comparison in COMPARISONS
            if (comparison.library, comparison.metric, comparison.theirs)
            == (difference.library, difference.metric, difference.theirs)
        ]
        assert any(
            difference.where(pair)
            for pair, compared in zip(mask_pairs(), comparison.compared(), strict=True)
            if compared
        )


@pytest.fixture(scope="module")
def matrices():
    """The confusion matrix of every pair of label maps."""
    return [
        segeval.confusion_matrix(pair.reference, pair.prediction, pair.classes, ignore_label=pair.ignore_label)
        for pair in label_map_pairs()
    ]


class TestLabelMaps:
    def test_confusion_matrix_is_that_of_scikit_learn(self, matrices, recorded):
        theirs = recorded["scikit-learn"]["label_maps confusion_matrix"]
        assert np.concatenate([matrix.ravel() for matrix in matrices]).tolist() == theirs.tolist()

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (segeval.pixel_accuracy, "accuracy_score"),
            (segeval.mean_accuracy, "balanced_accuracy_score"),
            (segeval.mean_iou, "jaccard_score_macro"),
            (segeval.frequency_weighted_iou, "jaccard_score_weighted"),
        ],
        ids=lambda value: getattr(value, "__name__", value),
    )
    def test_metrics_of_long_et_al_are_those_of_scikit_learn(self, ours, theirs, matrices, recorded):
        values = np.array([ours(matrix) for matrix in matrices])
        assert largest_difference(values, recorded["scikit-learn"][f"label_maps {theirs}"]) <= EXACT

    def test_regions_and_ignored_voxels_are_those_of_nnunet(self, recorded):
        scores = [
            score
            for pair in label_map_pairs()
            for score in segeval.evaluate(
                pair.reference,
                pair.prediction,
                {str(position): region for position, region in enumerate(nnunet.regions_of(pair))},
                pair.spacing_mm,
                ignore_label=pair.ignore_label,
                on_empty="nnunet",
                metrics=PER_CLASS_METRICS,
            ).scores
        ]
        theirs = recorded["nnunetv2"]
        for name in nnunet.COUNTS:
            assert [getattr(score, name.lower()) for score in scores] == theirs[f"label_maps {name}"].tolist()
        for ours, name in zip(PER_CLASS_METRICS, ("Dice", "IoU"), strict=True):
            values = np.array([score[ours] for score in scores])
            assert largest_difference(values, theirs[f"label_maps {name}"]) <= EXACT

    @pytest.mark.parametrize(
        ("library", "adapter", "convention", "dice", "iou"),
        [("monai", monai, "monai", "dice", "iou"), ("torchmetrics", torchmetrics, "torchmetrics", "dice_score", None)],
        ids=["monai", "torchmetrics"],
    )
    def test_classes_are_those_of_one_hot_libraries(self, library, adapter, convention, dice, iou, recorded):
        """They score the background too: the foreground is compared."""
        pairs = [pair for pair in label_map_pairs() if adapter.takes(pair)]
        is_foreground = np.concatenate([np.arange(pair.classes) > 0 for pair in pairs])
        cases = [
            segeval.evaluate(
                pair.reference,
                pair.prediction,
                declared(pair),
                pair.spacing_mm,
                on_empty=convention,
                metrics=PER_CLASS_METRICS,
            )
            for pair in pairs
        ]
        for metric, name in (("dice", dice), ("jaccard", iou)):
            if name is not None:
                values = np.array([score[metric] for case in cases for score in case.scores])
                theirs = recorded[library][f"label_maps {name}"][is_foreground].astype(np.float64)
                assert largest_difference(values, theirs) <= 1e-7


@pytest.fixture(scope="module")
def write_study(tmp_path_factory):
    """Function that writes a study as NIfTI and gives the folders of references and predictions."""

    def write(kind):
        folder = tmp_path_factory.mktemp(kind)
        for role in ("reference", "prediction"):
            (folder / role).mkdir()
            for number, pair in enumerate(study_pairs(kind)):
                image = nibabel.Nifti1Image(getattr(pair, role), np.diag([*pair.spacing_mm, 1.0]))
                nibabel.save(image, folder / role / f"case_{number}.nii.gz")
        return folder / "reference", folder / "prediction"

    return write


class TestStudies:
    @pytest.mark.parametrize(
        ("kind", "name"), [("absent_classes", "nnunet_summary"), ("ignored", "nnunet_summary_ignored")]
    )
    def test_summary_is_that_of_nnunet(self, kind, name, write_study, tmp_path):
        """All that nnU-Net wrote for these files, key for key and number for number, is in SegEval's summary."""
        labels = {str(region): region for region in STUDY_REGIONS} | {"never": 4}
        evaluation = segeval.evaluate_folder(*write_study(kind), labels, ignore_label=IGNORE_LABEL, workers=1)
        segeval.write_evaluation(evaluation, tmp_path / "out")
        ours = json.loads((tmp_path / "out" / "summary.json").read_text())
        theirs = json.loads((FOLDER / f"{name}.json").read_text())
        for case, expected in zip(ours["metric_per_case"], theirs["metric_per_case"], strict=True):
            assert Path(case["reference_file"]).name == Path(expected["reference_file"]).name
            for region, numbers in expected["metrics"].items():
                assert case["metrics"][region] == pytest.approx(numbers, abs=EXACT, nan_ok=True)
        for region, numbers in theirs["mean"].items():
            assert ours["mean"][region] == pytest.approx(numbers, abs=EXACT, rel=EXACT)
        scored = [ours["mean"][str(region)] for region in STUDY_REGIONS]
        for metric, value in theirs["foreground_mean"].items():
            assert np.mean([numbers[metric] for numbers in scored]) == pytest.approx(value, rel=EXACT)

    def test_foreground_mean_holds_where_a_label_is_in_no_case(self, write_study):
        """nnUNet issue 2241: nnU-Net's becomes NaN; SegEval's is over the labels that have a mean, and says so."""
        theirs = json.loads((FOLDER / "nnunet_summary_absent_label.json").read_text())
        assert math.isnan(theirs["foreground_mean"]["Dice"])
        evaluation = segeval.evaluate_folder(
            *write_study("absent_classes"), {str(label): label for label in range(1, 5)}, workers=1
        )
        expected = np.mean([theirs["mean"][label]["Dice"] for label in "123"])
        assert evaluation.foreground["dice"].mean == pytest.approx(expected, rel=EXACT)
        assert any("“4”" in warning for warning in evaluation.warnings)

    def test_means_are_those_of_monai(self, write_study):
        """Over labels within a case, then over cases; and over cases for each label."""
        theirs = json.loads((FOLDER / "monai_study.json").read_text())
        evaluation = segeval.evaluate_folder(
            *write_study("absent_classes"),
            {str(label): label for label in range(1, 5)},
            conventions=segeval.Conventions(on_empty="monai"),
            workers=1,
        )
        for metric, name in (("dice", "dice"), ("jaccard", "iou"), ("hd95_mm", "hd95"), ("hausdorff_mm", "hausdorff")):
            assert evaluation.per_case[metric].mean == pytest.approx(theirs[f"{name} mean"][0], rel=SINGLE)
            means = [evaluation.means[metric][label].mean for label in "123"]
            assert means == pytest.approx(theirs[f"{name} mean_batch"][:3], rel=SINGLE)
            # MONAI issue 7504: the mean of a class that no case has is 0 there
            assert theirs[f"{name} mean_batch"][3] == 0.0
            assert math.isnan(evaluation.means[metric]["4"].mean)

    def test_missing_a_structure_improves_the_hd95_of_monai_and_not_ours(self, write_study):
        """MONAI issue 9095."""
        folders = write_study("absent_classes")
        labels = {str(label): label for label in range(1, 4)}
        penalised = segeval.evaluate_folder(*folders, labels, workers=1).means["hd95_mm"]
        dropped = segeval.evaluate_folder(
            *folders, labels, conventions=segeval.Conventions(on_empty="monai"), workers=1
        ).means["hd95_mm"]
        assert all(penalised[label].mean > dropped[label].mean for label in labels)
        assert all(penalised[label].n > dropped[label].n for label in labels)


def test_fcn_is_the_formula_of_its_script():
    """Long et al. 2015: n_ii / t_i and n_ii / (t_i + p_i - n_ii) of a case's matrix, 0 / 0 being NaN in both."""
    for pair in label_map_pairs()[:200]:
        case = segeval.evaluate(
            pair.reference,
            pair.prediction,
            declared(pair),
            pair.spacing_mm,
            on_empty="fcn",
            metrics=("jaccard", "sensitivity"),
        )
        for label, score in zip(range(1, pair.classes), case.scores, strict=True):
            t, p = np.sum(pair.reference == label), np.sum(pair.prediction == label)
            n = np.sum((pair.reference == label) & (pair.prediction == label))
            with np.errstate(invalid="ignore"):
                expected = np.array([n / (t + p - n), n / t])
            assert largest_difference(np.array([score["jaccard"], score["sensitivity"]]), expected) <= EXACT


class TestDocumentation:
    COLUMNS = ("dice", "jaccard", "precision", "sensitivity", "hausdorff_mm", "hd95_mm", "assd_mm", "nsd")
    TEXT = (REPOSITORY / "docs" / "science" / "conventions.md").read_text()

    @pytest.mark.parametrize("convention", ON_EMPTY)
    def test_table_is_the_code(self, convention):
        def cell(policy):
            values = (policy.both_empty, policy.reference_empty, policy.prediction_empty)
            return " / ".join(
                value if isinstance(value, str) else "–" if math.isnan(value) else f"{value:g}" for value in values
            )

        policies = ON_EMPTY[convention]
        cells = (f" {cell(policies[metric])} |" if metric in policies else " |" for metric in self.COLUMNS)
        assert f"| `{convention}` |{''.join(cells)}\n" in self.TEXT

    @pytest.mark.parametrize("issue", sorted({difference.issue for difference in DIFFERENCES if difference.issue}))
    def test_reported_differences_are_listed(self, issue):
        assert issue in self.TEXT
