"""Where datasets and cases lie, as addresses name it: by the job that made or used them, or in a declared folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from werkzeug.exceptions import HTTPException, NotFound

from r2d2.engine import JobDetails
from r2d2.engine.errors import RefusedError
from r2d2.engine.paths import check_private, real_path
from r2d2.errors import R2D2Error
from r2d2.viewing.case import ViewedCase, case_of_dataset, case_of_prediction, predicted_in
from r2d2.viewing.dataset import is_dataset, open_dataset
from r2d2.viewing.finding import is_prediction

from .area import Console
from .roots import asking

__all__ = ["TRAININGS", "Place", "Places"]

TRAININGS = ("train", "cross-validate")


@dataclass(frozen=True)
class Place:
    """A folder with cases.

    Attributes:
        kind: "job" or "root".
        number: of the job, or of the declared folder.
        path: where within the declared folder; of a job "".
        title: what people call it.
        dataset: folder of a prepared dataset; None: there is none.
        prediction: folder of label maps that a model made; None: there is none.
        reference: label maps that those were judged by, a folder or one of them; None: the dataset's.
        word: what stands for the dataset in forms (see `web.choices`); empty: the place is none of its own.
    """

    kind: Literal["job", "root"]
    number: int
    path: str
    title: str
    dataset: Path | None = None
    prediction: Path | None = None
    reference: Path | None = None
    word: str = ""

    @property
    def words(self) -> dict[str, Any]:
        """What its addresses are made of: arguments for ``url_for``."""
        return {"kind": self.kind, "number": self.number, **({"path": self.path} if self.path else {})}

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Name its cases: those predicted, or all of the dataset.

        Raises:
            R2D2Error: its files are damaged.
        """
        if self.prediction is not None:
            return predicted_in(self.prediction)
        return () if self.dataset is None else tuple(open_dataset(self.dataset).cases)

    def case(self, case_id: str) -> ViewedCase:
        """Find a case.

        Raises:
            NotFound: there is none.
            R2D2Error: its files are damaged.
        """
        dataset = None if self.dataset is None else open_dataset(self.dataset)
        if case_id not in self.case_ids:
            raise NotFound(f"{self.title} has no case of this name")
        if self.prediction is not None:
            return case_of_prediction(self.prediction, case_id, dataset, self.reference)
        if dataset is None:
            raise NotFound(f"{self.title} has no cases")
        return case_of_dataset(dataset, case_id)


class Places:
    """Finds places, and says which files whoever asks may see.

    Args:
        console: with the jobs as whoever asks may have them, declared folders, and scans that users brought along.
    """

    def __init__(self, console: Console) -> None:
        self._jobs, self._roots, self._uploads = console.jobs, console.roots, console.uploads
        self._work_root = console.settings.work_root.absolute()

    def find(self, kind: str, number: int, path: str = "") -> Place:
        """Find what an address names.

        Raises:
            NotFound: there is nothing, or nothing with cases.
            Forbidden: it is not shown to who asks.
            R2D2Error: there is no such job.
        """
        if kind == "root":
            return self._in_root(number, path)
        if kind == "job":
            return self.of_job(self._jobs.show(_checked(number)))
        raise NotFound("there is no such page")

    def of_job(self, found: JobDetails) -> Place:
        """Give what a job made, or used: its dataset and its label maps.

        Raises:
            NotFound: neither is there (yet).
        """
        job, settings, result = found.job, found.settings, found.result or {}
        dataset, prediction, reference = settings.get("dataset"), None, None
        if job.task == "prepare":
            dataset = result.get("dataset") or job.output
        elif job.task == "predict":
            prediction = result.get("folder") or job.output
        elif job.task == "evaluate":
            prediction, reference = settings.get("prediction"), settings.get("reference")
        elif job.task in TRAININGS:
            dataset = result.get("dataset") or dataset
        place = Place(
            "job",
            job.id,
            "",
            f"job {job.id}",
            dataset=_there(dataset, is_dataset),
            prediction=_there(prediction, is_prediction),
            reference=_there(reference, Path.exists),
            word=f"job:{job.id}" if job.task == "prepare" else "",
        )
        if place.dataset is None and place.prediction is None:
            raise NotFound(f"job {job.id} has no cases to look at, or not yet: its task is {job.task}")
        self.check([folder for folder in (place.dataset, place.prediction, place.reference) if folder is not None])
        return place

    def _in_root(self, number: int, path: str) -> Place:
        folder = self._roots.found(asking(), number, path)
        title = Path(path).name or folder.name
        if is_dataset(folder):
            return Place("root", number, path, title, dataset=folder, word=f"root:{number}:{path or '.'}")
        if is_prediction(folder):
            return Place("root", number, path, title, prediction=folder)
        raise NotFound(f"{title} is neither a prepared dataset nor a folder of predictions")

    def check(self, files: Iterable[Path]) -> None:
        """Refuse files that are not shown to who asks, wherever links lead.

        Raises:
            RefusedError: naming the first.
        """
        for file in files:
            if not self._roots.may_see(asking(), file) and not self._is_output(file):
                raise RefusedError(f"{file.name} lies outside of the folders that are shown to you")

    def _is_output(self, file: Path) -> bool:
        """Whether a file lies in the engine's folder, and what made it is no secret."""
        own, path = real_path(self._work_root), real_path(file)
        if own not in path.parents:
            return False
        try:
            check_private([path], own)
            first, *rest = path.relative_to(own).parts
            if first == self._uploads.folder.name:
                person = asking()
                self._uploads.find(rest[0], "" if person is None else person.name)
            if first == "jobs":
                self._jobs.show(int(rest[0]))  # refused where it uses a folder that is hidden
        except (R2D2Error, HTTPException, ValueError):
            return False
        return True


def _there(folder: Any, is_it: Any) -> Path | None:
    return Path(folder) if folder and is_it(Path(folder)) else None


def _checked(number: int) -> int:
    if not 1 <= number < 2**62:
        raise NotFound("there is no such job")
    return number
