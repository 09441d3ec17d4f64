"""The form of a prediction: which model, and which scans: brought along, or of a prepared dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.engine import Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.validation import validated
from r2d2.tasks.preparation import PHANTOM_FOLDER
from r2d2.tasks.zoo import channels_of_model

from ..area import Console
from ..choices import dataset_of, network_of

__all__ = ["DICOM_OUTPUTS", "SPLITS", "PredictForm", "submission_of_prediction"]

DICOM_OUTPUTS = (("seg", "DICOM SEG"), ("rtstruct", "RTSTRUCT"), ("nifti", "NIfTI"))
SPLITS = (("test", "test cases"), ("validation", "validation cases"), ("train", "training cases"))


@dataclass(frozen=True)
class PredictForm:
    """What was chosen.

    Attributes:
        model: word of the network.
        upload: of the scans; empty: those of the dataset.
        dataset: word of the dataset.
        split: which of its cases.
        dicom_output: what label maps of DICOM series are written as.
        name: of the job.
    """

    model: str = ""
    upload: str = ""
    dataset: str = ""
    split: str = "test"
    dicom_output: str = "seg"
    name: str = ""

    @classmethod
    def read(cls, sent: Mapping[str, str]) -> PredictForm:
        """Read what a browser sent."""
        return cls(**{name: sent.get(name, default).strip() for name, default in _DEFAULTS.items()})


_DEFAULTS = {"model": "", "upload": "", "dataset": "", "split": "test", "dicom_output": "seg", "name": ""}


def submission_of_prediction(form: PredictForm, console: Console, owner: str) -> Submission:
    """Give the job.

    Raises:
        RefusedError: something was not chosen, or is not there.
        NotFound: the upload is gone.
    """
    if form.split not in dict(SPLITS) or form.dicom_output not in dict(DICOM_OUTPUTS):
        raise RefusedError("choose what is listed")
    model = network_of(form.model, console.jobs, ("train", "cross-validate"))
    settings: dict[str, Any] = {"model": model}
    after: list[int] = []
    if form.upload:
        inputs = console.uploads.find(form.upload, owner).inputs(are_apart=channels_of_model(model) == 1)
        if not inputs:
            raise RefusedError("choose the scans: none came")
        settings |= {"inputs": list(map(str, inputs)), "inference": {"dicom_output": form.dicom_output}}
    elif form.dataset:
        dataset = dataset_of(form.dataset, console)
        path: Path = dataset.path or console.settings.work_root / PHANTOM_FOLDER
        settings |= {"dataset": str(path), "split": form.split}
        after = [] if dataset.after is None else [dataset.after]
    else:
        raise RefusedError("choose scans, or a dataset")
    content = {"task": "predict", "settings": settings, "name": form.name or f"predict with {form.model}"[:120]}
    made: Submission = validated(Submission, {**content, "after": after}, "form")
    return made
