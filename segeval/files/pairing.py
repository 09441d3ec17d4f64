"""Which prediction belongs to which reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segeval.errors import EvaluationInputError
from segeval.files.label_map import case_id_of, is_placed_by_another, label_map_suffixes

__all__ = ["CasePair", "find_repeated", "label_maps_in", "match_folders", "pair_folders"]


@dataclass(frozen=True, slots=True)
class CasePair:
    """A prediction and its reference.

    Attributes:
        case_id: name of the case, once per evaluation.
        reference: label map (NIfTI, NRRD, MetaImage, PNG or TIFF, DICOM SEG or RTSTRUCT).
        prediction: label map on the same voxel grid; its format may be another.
        patient_id: the patient; None where each case is a patient of its own.
        note: something a reader of the scores must know, such as "training case of this model".
        is_picture: whether both are of a picture, which has no size in millimetres, whatever they are stored as; None:
            the reference's format tells.
    """

    case_id: str
    reference: Path | str
    prediction: Path | str
    patient_id: str | None = None
    note: str | None = None
    is_picture: bool | None = None


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
    reference: Path | str, prediction: Path | str, *, may_miss: bool = False
) -> tuple[tuple[CasePair, ...], list[str]]:
    """Pair two folders, or files, and list what is wrong with them.

    Args:
        reference: folder of reference label maps, or one of them: the only case.
        prediction: folder of predictions, or one of them. Two files are a pair whatever their names.
        may_miss: a reference without a prediction is paired with a file that does not exist.

    Returns:
        The pairs in the order of their names, and the faults.

    Example:
        >>> match_folders(Path("nowhere"), Path("nothing"))[1][0]
        'nowhere: no such folder of reference label maps'
    """
    faults: list[str] = []
    reference, prediction = Path(reference), Path(prediction)
    references = _list_cases(reference, "reference", faults)
    predictions = _list_cases(prediction, "prediction", faults, may_miss)
    if references is None or predictions is None:
        return (), faults
    if _is_one(reference) and _is_one(prediction):
        return (CasePair(next(iter(references)), reference, prediction),), faults
    if _is_one(reference):
        predictions = {case_id: path for case_id, path in predictions.items() if case_id in references}
    elif _is_one(prediction):
        references = {case_id: path for case_id, path in references.items() if case_id in predictions}
    if not may_miss:
        for case_id in sorted(references.keys() - predictions.keys()):
            faults.append(f"case {case_id}: no prediction in {prediction} for {references[case_id].name}")
    for case_id in sorted(predictions.keys() - references.keys()):
        faults.append(f"case {case_id}: no reference in {reference} for {predictions[case_id].name}")
    pairs = tuple(
        CasePair(case_id, path, predictions.get(case_id, prediction / path.name))
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


def label_maps_in(path: Path) -> dict[str, list[Path]]:
    """Find the label maps of each case in a folder; hidden files and files of other types are passed over.

    Args:
        path: the folder, or a label map: the only case. It may be missing.

    Returns:
        Files of each case, in the order of their names. Links that lead nowhere are among them: they cannot be read,
        which must be said.

    Example:
        >>> label_maps_in(Path("nowhere")), label_maps_in(Path("label.nii.gz"))
        ({}, {'label': [PosixPath('label.nii.gz')]})
    """
    if not path.is_dir():
        case_id = case_id_of(path)
        return {} if case_id is None else {case_id: [path]}
    cases: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        case_id = case_id_of(file)
        if case_id is not None and not file.name.startswith(".") and not file.is_dir() and not _is_dicom_image(file):
            cases.setdefault(case_id, []).append(file)
    return cases


def _is_dicom_image(path: Path) -> bool:
    """Whether a file is DICOM that without labels, such as a slice; what is damaged may have been meant as labels."""
    from imgmed.errors import ImgMedError
    from imgmed.formats.dicom_labels import dicom_label_kind

    try:
        return is_placed_by_another(path) and path.exists() and dicom_label_kind(path) is None
    except ImgMedError:
        return False


def _is_one(path: Path) -> bool:
    """Whether a path is that of a label map, be it there or not, and of no folder."""
    return not path.is_dir() and (path.is_file() or case_id_of(path) is not None)


def _list_cases(path: Path, role: str, faults: list[str], may_miss: bool = False) -> dict[str, Path] | None:
    """Map case to file; None, with a fault noted, where there is nothing to pair."""
    files, suffixes = label_maps_in(path), ", ".join(label_map_suffixes())
    if files and not may_miss and not path.exists() and not path.is_symlink():
        faults.append(f"{path}: no such file or folder of {role} label maps")
        return None
    for case_id, others in files.items():
        if len(others) > 1:
            names = " and ".join(file.name for file in others)
            faults.append(f"case {case_id}: {len(others)} {role} files in {path}, {names}")
    if files:
        return {case_id: others[0] for case_id, others in files.items()}
    if path.is_dir():
        faults.append(f"{path}: no {role} label maps ({suffixes}) in this folder")
    elif path.is_file():
        faults.append(f"{path}: a {role} must be a folder, or a label map whose name ends with one of {suffixes}")
    else:
        faults.append(f"{path}: no such folder of {role} label maps")
    return None
