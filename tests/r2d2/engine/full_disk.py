"""What an engine does on a disk that fills up; run where the folder of the first argument is a small disk."""

import sys
import time
from pathlib import Path

from r2d2.engine import JobQuery, Submission
from r2d2_base.errors import R2D2Error
from tests.r2d2.engine import small_tasks
from tests.r2d2.engine.conftest import Bench

if __name__ == "__main__":
    disk, database, journal = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    bench = Bench(disk, database=None if database == "none" else database, max_jobs=1).open()
    bench.journal = journal
    waiting = bench.submit(word="waiting").id
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            print("full")
    try:
        bench.submit(word="refused")
    except R2D2Error as error:
        print("refused:", error)
    for _ in range(600):
        try:
            bench.engine.look()
        except R2D2Error as error:
            print("goes on:", error)
            break
        if bench.state(waiting) == "failed":
            break
        time.sleep(0.1)
    print("while full:", bench.state(waiting), bench.engine.show(waiting).job.reason)
    filler.unlink()
    print("with room:", *((job.state, job.reason) for job in bench.ended(waiting)))
    if bench.state(waiting) == "failed":
        bench.engine.resume(waiting)
    print("resumed:", bench.ended(waiting)[0].state)
    after = bench.engine.submit(Submission(task=small_tasks.NAME, settings={"journal": str(journal), "word": "after"}))
    print("after:", bench.ended(after.id)[0].state, bench.engine.list(JobQuery()).total)
    bench.close()
