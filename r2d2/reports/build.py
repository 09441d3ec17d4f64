"""Building the report: what goes into it, in which order, and writing it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dist_training.record.run_folder import RunFolder, RunStatus
from imgmed import ImgMedError, Volume
from r2d2.monitoring.figures import energy_sentence, summary
from r2d2.monitoring.influx.words import told as sent_to_influx
from r2d2.reports.agreement import agreement_section
from r2d2.reports.cases import cases_section, choose_cases, score_words
from r2d2.reports.contours import draw_overlay
from r2d2.reports.curves import draw_curves, read_epochs
from r2d2.reports.distributions import distributions_section
from r2d2.reports.formatting import plural
from r2d2.reports.machines import draw_machines
from r2d2.reports.method import conventions_section, provenance_section
from r2d2.reports.overlay import Overlay, OverlayError, error_counts, read_overlay
from r2d2.reports.page import Html, figures, page, paragraph, section, warning_box
from r2d2.reports.picture import Picture
from r2d2.reports.provenance import read_provenance
from r2d2.reports.scores import averages_section, headline, labels_section
from r2d2_base.files import make_folder, write_bytes
from r2d2_base.progress import UNWATCHED, Watcher
from segeval import EvaluatedCase, Evaluation, EvaluationSettings, SegEvalError, read_evaluation
from segeval.files.label_map import case_id_of

__all__ = ["ImageOf", "build_report", "build_run_report", "write_page"]

ImageOf = Path | Callable[[], Volume]


def build_report(
    out: Path,
    *,
    title: str,
    evaluation_dir: Path,
    prediction_dir: Path | None = None,
    reference: Mapping[str, Path] | None = None,
    images: Mapping[str, ImageOf] | None = None,
    run_dir: Path | None = None,
    are_pictures: bool | None = None,
    watcher: Watcher = UNWATCHED,
) -> Path:
    """Write an evaluation as one HTML file that holds its pictures and needs nothing else.

    Args:
        out: the HTML file; its folder is made, a file that is there is replaced.
        title: heading of the page.
        evaluation_dir: folder with `summary.json` and `cases.csv`.
        prediction_dir: folder of the predicted label maps; None takes the paths that the evaluation names.
        reference: reference label map of each case; for others the path that the evaluation names is taken.
        images: image of each case, its file or a function that gives it; those without one are drawn as label maps.
        run_dir: run folder for the training curves and the provenance; None leaves them out.
        are_pictures: whether the cases are pictures, without a place in a patient; None: the formats of the
            references tell.
        watcher: may ask the work to end, between pictures and before anything is written.

    Returns:
        `out`.

    Raises:
        EvaluationNotFoundError: there is no evaluation.
        EvaluationFormatError: the evaluation is damaged.
        NoSpaceError: the disk is full; nothing is left of the file.
        NotWritableError: the file cannot be written.
        CancelledError: a stop was requested.
    """
    evaluation = read_evaluation(evaluation_dir)
    files = _Files(prediction_dir, reference or {}, images or {}, are_pictures)
    body = [
        headline(evaluation),
        warning_box(evaluation.warnings),
        labels_section(evaluation),
        distributions_section(evaluation),
        _overlays_section(evaluation, files, watcher),
        agreement_section(evaluation),
        averages_section(evaluation),
    ]
    if run_dir is not None:
        body.append(_curves_section(run_dir))
    provenance = [("Evaluation", str(evaluation_dir)), *(read_provenance(run_dir) if run_dir is not None else [])]
    body += [cases_section(evaluation), conventions_section(evaluation), provenance_section(provenance)]
    write_page(out, page(title, f"R2D2 evaluation report, {_written()}. Not for clinical decisions.", body))
    return out


def build_run_report(out: Path, run_dir: Path, *, is_for_others: bool = False) -> Path:
    """Write a training as one HTML file: its curves, what it did with its machines, where it comes from.

    Args:
        out: the HTML file; its folder is made, a file that is there is replaced.
        run_dir: run folder, also of a training that goes on.
        is_for_others: leave out what may name patients: paths, the command, and why a run stopped or failed.

    Returns:
        `out`.

    Raises:
        NoSpaceError: the disk is full; nothing is left of the file.
        NotWritableError: the file cannot be written.
    """
    status, provenance = RunFolder(run_dir).status(), read_provenance(run_dir)
    if is_for_others:
        status = dataclasses.replace(status, reason=None)
        provenance = [(name, value) for name, value in provenance if name not in ("Run folder", "Command")]
    body = [paragraph(_course_of(status)), _curves_section(run_dir), provenance_section(provenance)]
    title = f"Training {'/'.join(run_dir.absolute().parts[-1 if is_for_others else -2 :])}"
    write_page(
        out, page(title, f"R2D2 training report, {_written()}. Its scores are of validation, not of a test.", body)
    )
    return out


def _course_of(status: RunStatus) -> str:
    """Say in a sentence how far a run came, and how it ended."""
    words = (status.state or "unknown").replace("_", " ")
    why = f" ({status.reason})" if status.reason else ""
    planned = "" if status.epochs is None else f" of {status.epochs}"
    text = f"State: {words}{why}, after {plural(status.epoch, 'epoch')}{planned}"
    if status.best_dice is not None:
        text += f"; best validation Dice {status.best_dice:.3f}, in epoch {status.best_epoch}"
    return f"{text}."


def _written() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("written %Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the voxels of a case lie."""

    prediction_dir: Path | None
    references: Mapping[str, Path]
    images: Mapping[str, ImageOf]
    are_pictures: bool | None

    def read(self, case: EvaluatedCase, settings: EvaluationSettings) -> tuple[Overlay, str]:
        """Read the slice to be shown; and why it has no scan, where one was given that does not serve."""
        how = settings.model_dump(include={"labels", "ignore_label", "spatial_units"})
        prediction: Path | None = Path(case.prediction)
        if self.prediction_dir is not None:
            prediction = self.prediction_dir / Path(case.prediction).name
        if all(score.status == "prediction_missing" for score in case.scores):
            prediction = None
        reference = self.references.get(case.case_id, Path(case.reference))
        image = self.images.get(case.case_id)
        if image is None:
            why = f"No scan of case {case.case_id} was given." if self.images else ""
            return read_overlay(None, reference, prediction, is_picture=self.are_pictures, **how), why
        try:
            scan = image if isinstance(image, Path) else image()
            return read_overlay(scan, reference, prediction, is_picture=self.are_pictures, **how), ""
        except (ImgMedError, OverlayError) as error:
            overlay = read_overlay(None, reference, prediction, is_picture=self.are_pictures, **how)
            return overlay, f"The scan of case {case.case_id} is not drawn: {error}."


def _overlays_section(evaluation: Evaluation, files: _Files, watcher: Watcher) -> Html:
    heading = "Worst cases first, on their worst slice"
    if any(case.case_id == f"{case_id_of(Path(case.reference))}#{_index(case)}" for case in evaluation.cases):
        return section(
            heading, paragraph("The cases are slices of volumes; pictures are of whole volumes only.", "note")
        )
    pictures: list[Picture] = []
    failures: list[str] = []
    has_patient = False
    for rank, case in choose_cases(evaluation):
        watcher.check()
        try:
            overlay, failure = files.read(case, evaluation.settings)
        except (SegEvalError, OverlayError) as error:
            failures.append(f"No picture of case {case.case_id}: {error}.")
            continue
        failures += [failure] if failure else []
        has_patient |= any(overlay.edges)
        pictures.append(_draw_case(rank, case, overlay, evaluation))
    explanation = (
        "Each case on the slice with the most wrong voxels. Voxels inside one contour only are wrong: missed inside "
        "the broad one (reference), too many inside the dashed one (prediction). "
    )
    if has_patient:
        explanation += (
            "Radiological orientation: the patient's right (R) is on the left of the picture; A anterior, P posterior, "
            "S superior, I inferior. Voxels are drawn at their size in mm."
        )
    notes = [paragraph(failure, "note") for failure in failures]
    return section(
        heading,
        *([paragraph(explanation, "note"), figures(pictures, "wide")] if pictures else []),
        *notes,
    )


def _index(case: EvaluatedCase) -> str:
    """Give what stands behind the name of a volume where the case is one of its slices."""
    return case.case_id.rpartition("#")[2]


def _draw_case(rank: str, case: EvaluatedCase, overlay: Overlay, evaluation: Evaluation) -> Picture:
    """Draw a case with its scores and what is wrong on the slice."""
    scores = score_words(case, evaluation)
    missed, extra, other = error_counts(overlay, evaluation.labels)
    wrong = f"Wrong on this {'slice' if overlay.place else 'image'}: {missed} voxels missed, {extra} too many"
    wrong += f", {other} under another label." if other else "."
    place = overlay.place or "The image"
    alt = (
        f"{place} of case {case.case_id}, the {rank.lower()} case, with the contours of reference and prediction. "
        f"{scores}. {wrong}"
    )
    return draw_overlay(overlay, evaluation.labels, alt, f"{rank} case, {case.case_id}: {scores}. {wrong}")


def _curves_section(run_dir: Path) -> Html:
    epochs = read_epochs(run_dir / "events.jsonl")
    if not epochs:
        return section("Training", paragraph(f"{run_dir.name} records no finished epoch.", "note"))
    machines, told = draw_machines(run_dir), (summary(run_dir), energy_sentence(run_dir), sent_to_influx(run_dir))
    return section(
        "Training",
        paragraph(f"{plural(len(epochs), 'epoch')} recorded.", "note"),
        figures(draw_curves(epochs)),
        *(paragraph(text, "note") for text in told if text is not None),
        *([figures(machines)] if machines else []),
    )


def write_page(out: Path, text: str) -> None:
    """Write a page that appears whole; raises NoSpaceError or NotWritableError."""
    make_folder(out.parent)
    # a file's name in another encoding has characters that UTF-8 has not
    write_bytes(out, text.encode("utf-8", "backslashreplace"))
