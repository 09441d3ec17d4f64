"""Reporting as one call: a dataset, or an evaluation, as one HTML page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset, case_stem, has_known_suffix
from r2d2.prediction.manifest import read_manifest
from r2d2.reports.build import ImageOf, build_report, build_run_report
from r2d2_base.errors import ConfigurationError
from r2d2_base.progress import UNWATCHED, Progress, StopRequest, Watcher
from segeval import read_evaluation

__all__ = ["REPORT", "ReportSettings", "find_images", "report", "report_on_dataset", "report_on_evaluation"]

REPORT = "report.html"
"""Name of the report beside the scores."""

GAIN = "gain.html"
"""Name of the report on what a start gained, in the run folder."""

TRAINING = "training.html"
"""Name of the report on a training, in the run folder."""

_FIRST_CHANNEL = "_0000"


class ReportSettings(BaseModel):
    """What is reported on: a dataset alone, a run alone, or an evaluation with what it was made from.

    >>> ReportSettings(dataset="work/hippocampus").evaluation is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path | None = Field(default=None, description="prepared dataset; alone: what is in it and what is odd")
    evaluation: Path | None = Field(default=None, description="folder of an evaluation")
    prediction: Path | None = Field(default=None, description="folder of label maps; none: as evaluated")
    images: Path | None = Field(default=None, description="folder of the scans, named like the label maps")
    out: Path | None = Field(default=None, description="HTML file; none: in the folder that is reported on")
    run_dir: Path | None = Field(
        default=None, description="run folder for the curves; none: that of the model; alone: the training"
    )
    against: Path | None = Field(
        default=None,
        description="run folder of the same training from nothing: what the start of run_dir gained; nothing else",
    )


def report(settings: ReportSettings, *, progress: Progress | None = None, stop: StopRequest | None = None) -> Path:
    """Draw a dataset, a run, an evaluation (scores, worst cases, curves), or what a start from another network gained.

    Args:
        settings: what to report on.
        progress: told when the page is begun and written.
        stop: ends the work between pictures, before anything is written.

    Returns:
        The HTML file.

    Raises:
        ConfigurationError: settings that contradict each other.
        R2D2Error: nothing to report on there.
        CancelledError: ``stop`` was made.
    """
    from r2d2.proposal import propose_here
    from r2d2.reports.dataset import build_dataset_report

    watcher = Watcher(progress, stop)
    watcher.report("reporting", 0, 1)
    asked, evaluation = settings, settings.evaluation
    if asked.against is not None:
        path = _report_on_gain(asked)
    elif evaluation is None:
        if asked.prediction is not None or asked.images is not None:
            raise ConfigurationError("--prediction and --images belong to an evaluation; give --evaluation")
        if asked.run_dir is not None:
            return _report_on_run(asked, asked.run_dir, watcher)
        if asked.dataset is None:
            raise ConfigurationError("give --dataset, --run-dir or --evaluation, to say what to report on")
        prepared = PreparedDataset.read(asked.dataset)
        out = asked.out or asked.dataset / "dataset.html"
        path = build_dataset_report(prepared, out, propose_here(prepared), watcher)
    elif asked.dataset is not None:
        if asked.images is not None:
            raise ConfigurationError("--dataset has the scans already; give either it or --images")
        path = report_on_dataset(
            PreparedDataset.read(asked.dataset),
            evaluation=evaluation,
            prediction=asked.prediction,
            out=asked.out or evaluation / REPORT,
            run_dir=asked.run_dir,
            watcher=watcher,
        )
    else:
        path = report_on_evaluation(
            evaluation=evaluation,
            prediction=asked.prediction,
            images=asked.images,
            out=asked.out or evaluation / REPORT,
            run_dir=asked.run_dir,
            watcher=watcher,
        )
    watcher.report("reporting", 1, 1)
    return path


def _report_on_run(asked: ReportSettings, run_dir: Path, watcher: Watcher) -> Path:
    """Report on a training alone."""
    if asked.dataset is not None:
        raise ConfigurationError(
            "--dataset and --run-dir are reported on one by one; leave one out, or give --evaluation"
        )
    if not RunFolder(run_dir).holds_run():
        raise ConfigurationError(f"{run_dir} is no run folder; name the --run-dir of a training")
    path = build_run_report(asked.out or run_dir / TRAINING, run_dir)
    watcher.report("reporting", 1, 1)
    return path


def _report_on_gain(asked: ReportSettings) -> Path:
    """Report on what the start of a run gained."""
    from r2d2.reports.gain import build_gain_report

    if asked.run_dir is None or asked.against is None:
        raise ConfigurationError(
            "--against is compared with the run of --run-dir, which started from a trained network"
        )
    if any(path is not None for path in (asked.dataset, asked.evaluation, asked.prediction, asked.images)):
        raise ConfigurationError(
            "--against compares two runs; leave out --dataset, --evaluation, --prediction, --images"
        )
    return build_gain_report(asked.out or asked.run_dir / GAIN, asked.run_dir, asked.against)


def report_on_dataset(
    dataset: PreparedDataset,
    *,
    evaluation: Path,
    prediction: Path | None,
    out: Path,
    run_dir: Path | None = None,
    watcher: Watcher = UNWATCHED,
) -> Path:
    """Write the HTML report of an evaluation on cases of a prepared dataset.

    Args:
        dataset: the prepared dataset, whose scans are drawn.
        evaluation: folder with summary.json.
        prediction: folder with the label maps; None takes the paths that the evaluation names.
        out: the HTML file.
        run_dir: the run folder; None takes the one that the predictions name.
        watcher: may ask the work to end, between pictures.

    Returns:
        ``out``.
    """
    labelled = [case_id for case_id, case in dataset.cases.items() if case.label is not None]
    return build_report(
        out,
        title=f"{dataset.name}: evaluation",
        evaluation_dir=evaluation,
        prediction_dir=_folder_of(prediction),
        reference={case_id: dataset.reference(case_id) for case_id in labelled},
        images={case_id: partial(dataset.restored_image, case_id) for case_id in labelled},
        run_dir=_run_dir(prediction) if run_dir is None else run_dir,
        watcher=watcher,
        are_pictures=not dataset.words.is_placed,
    )


def report_on_evaluation(
    *,
    evaluation: Path,
    out: Path,
    prediction: Path | None = None,
    images: Path | None = None,
    run_dir: Path | None = None,
    watcher: Watcher = UNWATCHED,
) -> Path:
    """Write the HTML report of an evaluation of label maps in folders.

    Args:
        evaluation: folder with summary.json.
        out: the HTML file.
        prediction: folder with the label maps, or one of them; None takes the paths that the evaluation names.
        images: folder with the scans, named like the label maps, or the only scan; None: label maps alone are drawn.
        run_dir: the run folder; None takes the one that the predictions name, if R2D2 made them.
        watcher: may ask the work to end, between pictures.

    Returns:
        ``out``.

    Raises:
        ConfigurationError: there are no scans in `images`.
    """
    return build_report(
        out,
        title="Evaluation of " + "/".join((prediction or evaluation).resolve().parts[-2:]),
        evaluation_dir=evaluation,
        prediction_dir=_folder_of(prediction),
        images={} if images is None else _images_of(evaluation, images),
        run_dir=_run_dir(prediction) if run_dir is None else run_dir,
        watcher=watcher,
    )


def _folder_of(prediction: Path | None) -> Path | None:
    """Give a folder of label maps; of a single one the evaluation names the path."""
    return None if prediction is None or prediction.is_file() else prediction


def _images_of(evaluation: Path, images: Path) -> dict[str, ImageOf]:
    """Find the scan of each case; a file is that of the only case, whatever its name."""
    if not images.is_file():
        return dict(find_images(images))
    cases = read_evaluation(evaluation).cases
    return {case.case_id: images for case in cases} if len(cases) == 1 else dict(find_images(images))


def find_images(folder: Path) -> dict[str, Path]:
    """Find the scan of each case in a folder.

    Args:
        folder: files named like the cases (of nnU-Net's channels, `case_0000`, the first is taken), or a folder of
            DICOM files or pictures for each case; or one file.

    Returns:
        Scan of each case.

    Raises:
        ConfigurationError: no such folder, or nothing in it that could be a scan.
    """
    if not folder.is_dir() and not (folder.is_file() and has_known_suffix(folder)):
        raise ConfigurationError(f"{folder}: no such folder of scans")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else (folder,):
        if path.name.startswith(".") or not (path.is_dir() or has_known_suffix(path)):
            continue
        name = path.name if path.is_dir() else case_stem(path)
        images.setdefault(name, path)
        images.setdefault(name.removesuffix(_FIRST_CHANNEL), path)
    if not images:
        raise ConfigurationError(f"{folder}: no scans in this folder; name them like the label maps")
    return images


def _run_dir(prediction: Path | None) -> Path | None:
    """Find the run folder of the model that made predictions, where it is still there."""
    folder = prediction.parent if prediction is not None and prediction.is_file() else prediction
    manifest = read_manifest(folder) if folder is not None else None
    run_dir = Path(manifest.model).parent if manifest is not None else None
    return run_dir if run_dir is not None and run_dir.is_dir() else None
