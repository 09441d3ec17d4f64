"""What a later call keeps of a finished folder of label maps, adds to it, or may replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2d2.prediction.finished import few_names, finished_prediction
from r2d2.prediction.items import ScanItem
from r2d2.prediction.manifest import PredictedCase, PredictionManifest
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.writing import UnfinishedPrediction, is_whole
from r2d2_base.errors import OutputExistsError

__all__ = ["keep_finished"]

REPLACE = "choose another folder, or --overwrite replaces them"


def keep_finished(
    out: Path, folder: UnfinishedPrediction, items: Sequence[ScanItem], predictor: Predictor, *, may_replace: bool
) -> tuple[PredictedCase, ...]:
    """Take over what stays of a finished folder, if `out` is one.

    Label maps of the same model and settings stay: those of scans that are not predicted now, and those of scans that
    are just the same.

    Args:
        out: the folder, or what may become one.
        folder: where its successor is made.
        items: the scans that are to be predicted.
        predictor: the networks.
        may_replace: let go what differs.

    Returns:
        The entries of what stays.

    Raises:
        OutputExistsError: there are label maps that differ, and may not be replaced.
    """
    before = finished_prediction(out)
    if before is None:
        return ()
    is_same_making = before.made_by == folder.made_by
    if not is_same_making:
        if not may_replace:
            raise OutputExistsError(f"{out} holds label maps {_other_making(before, predictor)}; {REPLACE}")
        return ()
    wanted = {item.file: item for item in items}
    files = {item.case_id: item.file for item in items}
    stay: list[PredictedCase] = []
    differing: list[str] = []
    for case in before.cases:
        item = wanted.get(case.file)
        if item is None and case.case_id in files:
            differing.append(f"{case.file}, of the same case as {files[case.case_id]}")
        elif fault := None if item is None else _difference(out, folder, before, case, item):
            differing.append(f"{case.file}, {fault}")
        else:
            stay.append(case)
    if differing and not may_replace:
        raise OutputExistsError(f"{out} holds other label maps already ({few_names(differing)}); {REPLACE}")
    for case in stay:
        folder.adopt(case, before.made[case.file], out)
    return tuple(stay)


def _other_making(before: PredictionManifest, predictor: Predictor) -> str:
    networks = [member.model_sha256 for member in before.ensemble] or [before.model_sha256]
    theirs, ours = before.inference.model_dump(), predictor.settings.model_dump()
    changed = [f"{name}: {theirs[name]}, now {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if networks != [member.card.model_sha256 for member in predictor.members]:
        return f"of another model, {before.model}"
    if changed:
        return f"made in another way ({'; '.join(changed)})"
    return "of another version of R2D2, or of the model's card"


def _difference(
    out: Path, folder: UnfinishedPrediction, before: PredictionManifest, case: PredictedCase, item: ScanItem
) -> str | None:
    """Say why the label map of a scan is not the one that would be made now; None: it is."""
    made = before.made[case.file]
    try:
        is_same_scan = case.source_sha256 == item.entry.source_sha256
    except OSError:
        return None  # a scan that cannot be read any more says nothing against it
    if not is_same_scan:
        return f"of another scan than {item.name}"
    if made.stamp != folder.stamp(*item.made_from):
        return "of other channels or units of the scan"
    return None if is_whole(out, made) else "changed since"
