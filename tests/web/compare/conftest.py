"""Jobs that have ended, with what trainings and evaluations leave to compare."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from r2d2.config import commented_yaml, configure
from r2d2.engine import Submission
from r2d2.engine.folder import FINAL
from r2d2_base.progress import StopRequest
from tests.small_evaluations import write_small_evaluations
from tests.web.conftest import Site


class Ended:
    """Submits jobs, whose "end" comes at once, and lays into their folders what they would have made.

    Attributes:
        made: folder of label maps and their evaluations.
    """

    def __init__(self, site: Site, made: Path) -> None:
        self.site, self.made = site, made

    def job(self, task: str, name: str, **settings: Any) -> tuple[int, Path]:
        job = self.site.engine.submit(Submission(task=task, settings=settings, name=name))
        while self.site.engine.show(job.id).job.state not in FINAL:
            self.site.engine.look()
        output = Path(str(job.output))
        output.mkdir(parents=True, exist_ok=True)
        return job.id, output

    def run(self, name: str, *words: str) -> int:
        """A training with these settings; without words one that has written nothing."""
        number, output = self.job("train", name)
        if words:
            (output / "config.yaml").write_text(commented_yaml(configure({}, assignments=words), "a run"))
        return number

    def evaluation(self, name: str, of: str = "") -> int:
        """An evaluation of one of the models; without a model one that has written nothing."""
        maps = str(self.made / "reference")
        number, output = self.job("evaluate", name, prediction=str(self.made / (of or "good")), reference=maps)
        if of:
            shutil.copytree(self.made / f"evaluation_{of}", output, dirs_exist_ok=True)
        return number


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("site"), stack)
        end = StopRequest()
        worker = threading.Thread(target=site.engine.work, args=(end,))
        worker.start()
        stack.callback(worker.join)
        stack.callback(site.engine.wake)
        stack.callback(end.make)
        yield Ended(site, write_small_evaluations(site.folder / "data" / "maps"))
