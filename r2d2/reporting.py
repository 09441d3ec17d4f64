"""Which files a report of a dataset's evaluation is made from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from imgmed import PreparedDataset
from r2d2.predict import read_manifest
from r2d2.report import build_report

__all__ = ["report_on_dataset"]


def report_on_dataset(
    dataset: PreparedDataset,
    *,
    evaluation: Path,
    prediction: Path,
    out: Path,
    run_dir: Path | None = None,
) -> Path:
    """Write the HTML report of an evaluation on cases of a prepared dataset.

    Args:
        dataset: the prepared dataset, whose scans are drawn.
        evaluation: folder with summary.json.
        prediction: folder with the label maps.
        out: the HTML file.
        run_dir: the run folder; None takes the one that the predictions name.

    Returns:
        ``out``.
    """
    if run_dir is None:
        manifest = read_manifest(prediction)
        run_dir = Path(manifest.model).parent if manifest is not None else None
    labelled = [case_id for case_id, case in dataset.cases.items() if case.label is not None]
    return build_report(
        out,
        title=f"{dataset.name}: evaluation",
        evaluation_dir=evaluation,
        prediction_dir=prediction,
        reference={case_id: dataset.reference(case_id) for case_id in labelled},
        images={case_id: partial(dataset.restored_image, case_id) for case_id in labelled},
        run_dir=run_dir if run_dir is not None and run_dir.is_dir() else None,
        labels=dataset.labels,
    )
