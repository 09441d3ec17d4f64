"""An engine in a process of its own, as `r2d2 engine run` is, that may run the small tasks too."""

import sys
from pathlib import Path

from r2d2.engine import EngineSettings, open_engine
from r2d2.engine.server import serving
from r2d2_base.progress import StopRequest
from tests.r2d2.engine import small_tasks

if __name__ == "__main__":
    settings = EngineSettings(
        work_root=Path(sys.argv[1]), task_modules=(small_tasks.__name__,), max_jobs=int(sys.argv[2])
    )
    with open_engine(settings) as engine, serving(engine):
        engine.work(StopRequest())
