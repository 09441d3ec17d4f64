"""Keras's own metrics beside SegEval's, on the label maps that the recorded libraries were run on."""

import numpy as np
import pytest

import segeval
from segeval.empty_conventions import ON_EMPTY
from tests.segeval.peers.masks import label_map_pairs


def test_mean_iou_leaves_out_classes_that_are_nowhere() -> None:
    import keras

    for pair in label_map_pairs()[::8]:
        metric = keras.metrics.MeanIoU(pair.classes, ignore_class=pair.ignore_label)
        metric.update_state(pair.reference.ravel().astype("int32"), pair.prediction.ravel().astype("int32"))
        confusion = segeval.confusion_matrix(
            pair.reference, pair.prediction, pair.classes, ignore_label=pair.ignore_label
        )
        assert confusion.tolist() == np.asarray(metric.total_cm).astype(int).tolist()
        assert segeval.mean_iou(confusion) == pytest.approx(float(metric.result()), abs=1e-6)


@pytest.mark.parametrize(
    ("status", "reference", "prediction"),
    [("both_empty", [0, 0], [0, 0]), ("reference_empty", [0, 0], [0, 1]), ("prediction_empty", [0, 1], [0, 0])],
)
def test_what_empty_masks_are_worth(status: str, reference: list[int], prediction: list[int]) -> None:
    import keras

    for name, metric in (("precision", keras.metrics.Precision()), ("sensitivity", keras.metrics.Recall())):
        metric.update_state(reference, prediction)
        assert getattr(ON_EMPTY["keras"][name], status) == float(metric.result())
