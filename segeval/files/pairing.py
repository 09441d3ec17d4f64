"""Which prediction belongs to which reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segeval.errors import EvaluationInputError
from segeval.files.label_map import SUFFIXES, case_id_of

__all__ = ["CasePair", "find_repeated", "match_folders", "pair_folders"]


@dataclass(frozen=True, slots=True)
class CasePair:
    """A prediction and its reference.

    Attributes:
        case_id: name of the case, once per evaluation.
        reference: label map (NIfTI, NRRD, MetaImage, PNG or TIFF).
        prediction: label map on the same voxel grid; its format may be another.
        patient_id: the patient; None where each case is a patient of its own.
        note: something a reader of the scores must know, such as "training case of this model".
    """

    case_id: str
    reference: Path | str
    prediction: Path | str
    patient_id: str | None = None
    note: str | None = None


def pair_folders(reference_dir: Path | str, prediction_dir: Path | str) -> tuple[CasePair, ...]:
    """Pair the label maps of two folders by name without suffix; `a.nrrd` and `a.nii.gz` are both case `a`.

    Args:
        reference_dir: folder of reference label maps. Hidden files and files of other types are passed over.
        prediction_dir: folder of predictions.

    Returns:
        The pairs in the order of their names.

    Raises:
        EvaluationInputError: a folder is missing or has no label maps, a reference has no prediction, a
            prediction has no reference, or two files are one case; all of it listed together.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("reference/a.nii.gz", "prediction/a.nrrd"):
        ...         Path(folder, name).parent.mkdir()
        ...         Path(folder, name).touch()
        ...     [pair.case_id for pair in pair_folders(Path(folder, "reference"), Path(folder, "prediction"))]
        ['a']
    """
    pairs, faults = match_folders(reference_dir, prediction_dir)
    if faults:
        raise EvaluationInputError(faults)
    return pairs


def match_folders(
    reference_dir: Path | str, prediction_dir: Path | str, *, may_miss: bool = False
) -> tuple[tuple[CasePair, ...], list[str]]:
    """Pair two folders and list what is wrong with them.

    Args:
        reference_dir: as for `pair_folders`.
        prediction_dir: as for `pair_folders`.
        may_miss: a reference without a prediction is paired with a file that does not exist.

    Returns:
        The pairs in the order of their names, and the faults.

    Example:
        >>> match_folders(Path("nowhere"), Path("nothing"))[1][0]
        'nowhere: no such folder of reference label maps'
    """
    faults: list[str] = []
    references = _list_cases(Path(reference_dir), "reference", faults)
    predictions = _list_cases(Path(prediction_dir), "prediction", faults)
    if references is None or predictions is None:
        return (), faults
    if not may_miss:
        for case_id in sorted(references.keys() - predictions.keys()):
            faults.append(f"case {case_id}: no prediction in {prediction_dir} for {references[case_id].name}")
    for case_id in sorted(predictions.keys() - references.keys()):
        faults.append(f"case {case_id}: no reference in {reference_dir} for {predictions[case_id].name}")
    pairs = tuple(
        CasePair(case_id, path, predictions.get(case_id, Path(prediction_dir, path.name)))
        for case_id, path in sorted(references.items())
        if may_miss or case_id in predictions
    )
    return pairs, faults


def find_repeated(pairs: Sequence[CasePair]) -> list[str]:
    """List cases that are given more than once.

    Example:
        >>> find_repeated([CasePair("a", Path("r/a.nii"), Path("p/a.nii"))] * 2)
        ['case a: given more than once; each case counts once']
    """
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for pair in pairs:
        if pair.case_id in seen:
            repeated[pair.case_id] = None
        seen.add(pair.case_id)
    return [f"case {case_id}: given more than once; each case counts once" for case_id in repeated]


def _list_cases(folder: Path, role: str, faults: list[str]) -> dict[str, Path] | None:
    """Map case to file; None, with a fault noted, where there is nothing to pair."""
    if not folder.is_dir():
        faults.append(f"{folder}: no such folder of {role} label maps")
        return None
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        case_id = case_id_of(path)
        if case_id is None or path.name.startswith(".") or path.is_dir():
            continue  # a link that leads nowhere is a case still: it cannot be read, which must be said
        if case_id in found:
            faults.append(f"case {case_id}: two {role} files in {folder}, {found[case_id].name} and {path.name}")
        else:
            found[case_id] = path
    if not found:
        faults.append(f"{folder}: no {role} label maps ({', '.join(SUFFIXES)}) in this folder")
        return None
    return found
