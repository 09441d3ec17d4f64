"""Pictures of patients on a model's page, where its publisher wants them: the worst cases, none of them named."""

from __future__ import annotations

from pathlib import Path

from imgmed import ImgMedError, PreparedDataset, Volume
from r2d2.reports.cases import choose_cases, score_words
from r2d2.reports.contours import draw_overlay
from r2d2.reports.overlay import Overlay, OverlayError, read_overlay
from r2d2.reports.page import Html, figures, paragraph, section
from r2d2.zoo.publishing.evaluated import EvaluatedModel
from segeval import EvaluatedCase, SegEvalError

__all__ = ["pictures_section"]


def pictures_section(
    evaluated: EvaluatedModel, dataset: PreparedDataset | None, prediction_dir: Path | None
) -> Html | None:
    """Draw cases of an evaluation: the worst, the median, the best; None where no slice can be drawn.

    Args:
        evaluated: the evaluation.
        dataset: that has their scans; of others the references are drawn.
        prediction_dir: folder of the label maps; None: where the evaluation names them.
    """
    evaluation, pictures = evaluated.evaluation, []
    for rank, case in choose_cases(evaluation):
        try:
            overlay = _overlay(evaluated, case, dataset, prediction_dir)
        except (SegEvalError, OverlayError):
            continue
        scores = score_words(case, evaluation)
        alt = f"A slice of the case ranked “{rank}”, with the contours of the expert and of the model. {scores}."
        pictures.append(draw_overlay(overlay, evaluation.labels, alt, f"{rank} case: {scores}."))
    if not pictures:
        return None
    explanation = "The broad contour is the expert's, the dashed one the model's; each case on its worst slice."
    return section("How that looks", paragraph(explanation, "note"), figures(pictures, "wide"))


def _overlay(
    evaluated: EvaluatedModel, case: EvaluatedCase, dataset: PreparedDataset | None, prediction_dir: Path | None
) -> Overlay:
    how = evaluated.evaluation.settings.model_dump(include={"labels", "ignore_label", "spatial_units"})
    prediction = Path(case.prediction) if prediction_dir is None else prediction_dir / Path(case.prediction).name
    reference = Path(case.reference)
    predicted = evaluated.predicted.get(case.case_id)
    scan: Volume | None = None
    if dataset is not None and predicted is not None and case.case_id in dataset.cases:
        is_same = dataset.case(case.case_id).image_sha256 == predicted.source_sha256
        scan = dataset.restored_image(case.case_id) if is_same else None
        how["is_picture"] = dataset.case(case.case_id).is_picture or None
    try:
        return read_overlay(scan, reference, prediction, **how)
    except (ImgMedError, OverlayError):
        return read_overlay(None, reference, prediction, **how)
