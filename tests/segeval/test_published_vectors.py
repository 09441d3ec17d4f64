"""Inputs and results that other projects publish in their tests and reports, made again from the stated input.

Left out, as SegEval has no such thing: the mean IoU weighted by voxel of Keras's iou_metrics_test.py (its third
vector with weights .2, .3, .4, .1 gives .173611).
"""

import math

import numpy as np
import pytest

import segeval


def filled(shape, *regions, value=1):
    label_map = np.zeros(shape, np.uint8)
    for region in regions:
        label_map[region] = value
    return label_map


def scores(reference, prediction, spacing_mm=None, **choices):
    """The values of the structure with label 1."""
    spacing = spacing_mm or (1.0,) * np.ndim(reference)
    return segeval.evaluate(reference, prediction, {"structure": 1}, spacing, **choices).scores[0].values


class TestTorchmetrics3047:
    """torchmetrics issue 3047: 9 × 10 pixels, five classes, a piece of one taken for another, a piece missed."""

    @pytest.fixture
    def case(self):
        reference = np.zeros((9, 10), np.uint8)
        for label, region in {1: np.s_[1:4, 1:4], 3: np.s_[1:4, 6:9], 5: np.s_[4], 2: np.s_[5:8, 1:4]}.items():
            reference[region] = label
        reference[5:8, 6:9] = 4
        prediction = reference.copy()
        prediction[3, 1:4], prediction[4, 5:] = 5, 0
        return segeval.evaluate(reference, prediction, {str(label): label for label in range(1, 6)}, (1.0, 1.0))

    def test_iou_of_each_class(self, case):
        assert [score["jaccard"] for score in case.scores] == pytest.approx([0.6667, 1, 1, 1, 0.3846], abs=5e-5)

    def test_means_of_long_et_al(self, case):
        """Recomputed by hand from the same input: Σ n_ii / Σ t_i and so on."""
        assert case.pixel_accuracy == pytest.approx(0.911111, abs=5e-7)
        assert case.mean_accuracy == pytest.approx(0.861111, abs=5e-7)
        assert case.mean_iou == pytest.approx(0.824874, abs=5e-7)
        assert case.frequency_weighted_iou == pytest.approx(0.848404, abs=5e-7)


class TestKeras:
    """Keras 3, iou_metrics_test.py."""

    @pytest.mark.parametrize("classes", [2, 4])
    def test_mean_iou(self, classes):
        """Classes that appear nowhere are left out."""
        confusion = segeval.confusion_matrix([0, 0, 1, 1], [0, 1, 0, 1], classes)
        assert segeval.mean_iou(confusion) == pytest.approx(1 / 3)

    def test_mean_iou_with_an_ignored_class(self):
        confusion = segeval.confusion_matrix([0, 1, 2, 255], [0, 1, 1, 1], 3, ignore_label=255)
        assert segeval.mean_iou(confusion) == pytest.approx(0.5)

    def test_a_label_out_of_range_is_refused(self):
        """keras issue 22835: true [0, 1], predicted [0, 2] of two classes scores 1 there, the pair being dropped."""
        with pytest.raises(segeval.LabelRangeError):
            segeval.confusion_matrix([0, 1], [0, 2], 2)


class TestMonai:
    def test_dice(self):
        """MONAI, test_compute_meandice.py: prediction 10/01 and reference 10/11."""
        assert scores([[1, 0], [1, 1]], [[1, 0], [0, 1]])["dice"] == pytest.approx(0.8)

    def test_counts_above_2_to_the_24th(self):
        """MONAI, test_compute_confusion_matrix.py: 1024 × 1024 × 44 voxels of nothing are 46137344 true negatives."""
        nothing = np.zeros((1024, 1024, 44), np.uint8)
        case = segeval.evaluate(nothing, nothing, {"structure": 1}, (1.0,) * 3, metrics=("dice",))
        assert case.scores[0].tn == 46137344

    @pytest.mark.parametrize(("tolerance_mm", "expected"), [(5.5, 1 / 3), (6.0, 2 / 3)])
    def test_surface_dice(self, tolerance_mm, expected):
        """MONAI, test_surface_dice.py: two bars of three pixels."""
        prediction, reference = filled((10, 10), np.s_[1:4, 1]), filled((10, 10), np.s_[5:8, 6])
        assert scores(reference, prediction, tolerance_mm=tolerance_mm)["nsd"] == pytest.approx(expected)


class TestTorchmetricsDice:
    """torchmetrics, test_dice.py: three samples, four channels, two of them never there."""

    @pytest.fixture
    def cases(self):
        shape = (10, 10)
        reference = filled(shape, np.s_[:4, :4]) + filled(shape, np.s_[4:, 4:], value=3)
        prediction = filled(shape, np.s_[:2, :2]) + filled(shape, np.s_[8:, 8:], value=3)
        nothing = np.zeros(shape, np.uint8)
        samples = ((reference, prediction), (nothing, filled(shape, np.s_[:2, :2], value=3)), (nothing, nothing))
        labels = {"1": 1, "3": 3, "both": (1, 3)}
        return [segeval.evaluate(*sample, labels, (1.0, 1.0), metrics=("dice",)) for sample in samples]

    def test_samplewise(self, cases):
        """Classes of a sample together (micro: their region, as they are disjoint), or their mean (macro)."""
        values = np.array([[score["dice"] for score in case.scores] for case in cases])
        assert np.nanmean(values[:, 2]) == pytest.approx(0.1333, abs=5e-5)
        assert np.mean([np.nanmean(values[0, :2]), np.nanmean(values[1, :2])]) == pytest.approx(0.15)
        assert np.isnan(values[2]).all()

    def test_global(self, cases):
        def pooled(column):
            tp, fp, fn = (sum(getattr(case.scores[column], name) for case in cases) for name in ("tp", "fp", "fn"))
            return segeval.dice([[0, fp], [fn, tp]])[1]

        assert pooled(2) == pytest.approx(0.25)
        assert (pooled(0) + pooled(1)) / 2 == pytest.approx(0.2909, abs=5e-5)


class TestSurfaceDistance:
    """DeepMind's surface-distance, surface_distance_test.py, on surface elements."""

    def test_two_pixels(self):
        """128 × 128 pixels of 2 × 1 mm, one pixel in each: the four elements are 1, 1, 2 and 2 mm away."""
        reference, prediction = filled((128, 128), (50, 70)), filled((128, 128), (50, 72))
        values = scores(reference, prediction, (2.0, 1.0), surface="area_weighted")
        assert values["masd_mm"] == pytest.approx(1.5)
        assert (values["hausdorff_mm"], values["hd95_mm"]) == (2.0, 2.0)
        assert (values["nsd"], values["dice"]) == (0.5, 0.0)

    def test_a_rectangle_one_row_longer(self):
        """6 × 6 pixels of 2 × 1 mm; the two directed means, recomputed, are .095492 and .447214 mm."""
        reference, prediction = filled((6, 6), np.s_[1:3, 1:3]), filled((6, 6), np.s_[1:4, 1:3])
        values = scores(reference, prediction, (2.0, 1.0), surface="area_weighted")
        assert values["masd_mm"] == pytest.approx((0.095492 + 0.447214) / 2, abs=1e-6)
        assert values["hd95_mm"] == 2.0
        assert values["nsd"] == pytest.approx(0.870268, abs=5e-7)
        assert values["dice"] == pytest.approx(0.8)


class TestMetricsReloaded:
    """MetricsReloaded, the figures of Metrics Reloaded (Maier-Hein et al. 2024) in its tests, to their digits."""

    def test_a_square_with_a_cross(self):
        reference = filled((11, 11), np.s_[3:8, 3:8])
        prediction = filled((11, 11), np.s_[3:8, 3:8], np.s_[5, 1:10], np.s_[1:10, 5])
        values = scores(reference, prediction)
        assert values["dice"] == pytest.approx(0.862, abs=5e-4)
        assert values["jaccard"] == pytest.approx(0.76, abs=5e-3)
        assert values["assd_mm"] == pytest.approx(0.44, abs=5e-3)
        assert values["masd_mm"] == pytest.approx(0.425, abs=5e-4)
        assert values["nsd"] == pytest.approx(0.89, abs=5e-3)
        assert scores(reference, prediction, tolerance_mm=2.0)["nsd"] == 1.0

    def test_a_square_found_too_small(self):
        reference, prediction = filled((14, 14), np.s_[5:9, 5:9]), filled((14, 14), np.s_[6:8, 6:8])
        score = segeval.evaluate(reference, prediction, {"structure": 1}, (1.0, 1.0)).scores[0]
        assert (score.tp, score.fp, score.fn, score.tn) == (4, 0, 12, 180)
        assert score["hausdorff_mm"] == pytest.approx(1.41, abs=5e-3)
        assert score["masd_mm"] == pytest.approx(1.07, abs=5e-3)
        assert score["assd_mm"] == pytest.approx(1.10, abs=5e-3)
        assert score["nsd"] == pytest.approx(0.75)

    def test_complementary_masks(self):
        prediction = np.array([[int(voxel) for voxel in row] for row in ("0101", "0101", "0100", "0100")], np.uint8)
        values = scores(1 - prediction, prediction, (20.0, 20.0))
        assert values["hausdorff_mm"] == 40.0
        assert values["assd_mm"] == pytest.approx(21, abs=0.5)


class TestReportedErrors:
    """Faults that others report of their libraries, on inputs that show them."""

    def test_fcn_out_of_range(self):
        """Long et al.'s fast_hist(0, 4, n=3) counts a true positive of class 1: index 3 · 0 + 4 is cell (1, 1)."""
        assert np.bincount([3 * 0 + 4], minlength=9).reshape(3, 3)[1, 1] == 1
        with pytest.raises(segeval.LabelRangeError):
            segeval.confusion_matrix([0], [4], 3)

    def test_surface_distance_shapes(self):
        """(1, 5) against (5, 5) is accepted there, the one being spread over the other."""
        with pytest.raises(segeval.ShapeMismatchError):
            scores(np.ones((1, 5), np.uint8), np.ones((5, 5), np.uint8))

    def test_transunet_39(self):
        """TransUNet issue 39: a case with nothing but false positives gets Dice 1 and HD95 0."""
        values = scores(np.zeros((3, 4), np.uint8), filled((3, 4), (0, 0)))
        assert (values["dice"], values["hd95_mm"]) == (0.0, 5.0)

    def test_metrics_reloaded_empty_reference(self):
        """An empty reference and nine voxels in the corner of 14 × 14: NSD .125 there, 0 by definition."""
        assert scores(np.zeros((14, 14), np.uint8), filled((14, 14), np.s_[:3, :3]))["nsd"] == 0.0

    def test_simpleitk_notebooks_453(self):
        """A mask cut off by the border of the image has a surface there: a full image's is its outermost voxels."""
        full = np.ones((6, 6), np.uint8)
        frame = full - filled((6, 6), np.s_[1:5, 1:5])
        assert scores(full, frame)["hausdorff_mm"] == 0.0

    def test_every_metric_of_nothing_is_nothing(self):
        values = scores(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8))
        assert all(math.isnan(value) for value in values.values())
