"""A server whose folder of scans holds a study that lies askew, prepared, with label maps of a model."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from imgmed import PreparedDataset, Volume, write_volume
from r2d2.engine import Submission
from r2d2.engine.folder import FINAL
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, write_manifest
from tests.r2d2.viewing.oblique import LABELS, oblique_affine, oblique_case, oblique_dataset
from tests.web.conftest import Site
from tests.web.serving import until

NAME = "askew_001"


@dataclass(frozen=True)
class Shelf:
    """What a site has: numbers of jobs, and what they made.

    Attributes:
        prepared: number of the job that prepared the dataset.
        predicted: number of the job that predicted its cases.
        elsewhere: number of the job that predicted a scan which is in no dataset.
        dataset: as it lies in the declared folder, below ``askew/dataset``.
        label: of `NAME` in the prediction.
        judged: number of the job that compared that of ``elsewhere`` with a folder of references.
    """

    prepared: int
    predicted: int
    elsewhere: int
    dataset: PreparedDataset
    label: np.ndarray
    judged: int


def write_prediction(folder: Path, case_id: str, source: Path) -> np.ndarray:
    """Write a folder with one label map as `predict` does: the reference moved by a voxel."""
    folder.mkdir()
    label = np.roll(oblique_case(1)[1], 1, axis=1)
    write_volume(folder / f"{case_id}.nii.gz", Volume(label, oblique_affine()))
    case = PredictedCase(
        case_id=case_id, file=f"{case_id}.nii.gz", source=str(source), source_sha256=("0",), split=None
    )
    labels = {"background": 0, **LABELS}
    write_manifest(folder, PredictionManifest(model="m", model_sha256="0", labels=labels, cases=(case,)))
    return label


def job_done(site: Site, task: str, **settings: object) -> int:
    """Give the number of a job that has ended at once."""
    job = site.engine.submit(Submission(task=task, settings=settings, name=f"a {task}"), "somebody")
    until(lambda: site.engine.show(job.id).job.state in FINAL)
    assert site.engine.show(job.id).job.state == "completed"
    return job.id


@pytest.fixture(scope="module")
def shelf(site: Site) -> Iterator[Shelf]:
    data = site.folder / "data"
    dataset = oblique_dataset(data / "askew")
    source = dataset.source_root / "imagesTr" / f"{NAME}.nii.gz"
    label = write_prediction(data / "predicted", NAME, source)
    write_prediction(data / "elsewhere", "new", source)
    (data / "references").mkdir()
    write_volume(data / "references" / "new.nii.gz", Volume(oblique_case(2)[1], oblique_affine()))
    (data / "model.keras").write_bytes(b"never read")
    model = str(data / "model.keras")
    yield Shelf(
        job_done(site, "prepare", source=str(dataset.source_root), out=str(dataset.folder)),
        job_done(site, "predict", model=model, dataset=str(dataset.folder), out=str(data / "predicted")),
        job_done(site, "predict", model=model, inputs=[str(source)], out=str(data / "elsewhere")),
        dataset,
        label,
        job_done(site, "evaluate", prediction=str(data / "elsewhere"), reference=str(data / "references")),
    )
    shutil.rmtree(data / "askew")
