"""A PostgreSQL server of a test's own, from Debian's package `postgresql`; reached by a Unix socket alone."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

POSTGRES = shutil.which("postgres") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
PATIENCE_S = 300.0  # only ends what hangs

needs_postgresql = pytest.mark.skipif(POSTGRES is None, reason="PostgreSQL is not installed")


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start a server with an empty database; gives the URL.

    Args:
        folder: where it may lie.
    """
    psycopg = pytest.importorskip("psycopg")
    binaries = Path(str(POSTGRES)).parent
    user = ["setpriv", "--reuid=nobody", "--clear-groups"] if Path("/proc/self").owner() == "root" else []
    place = folder / "pg"
    place.mkdir()
    place.chmod(0o777)
    for above in (folder, *folder.parents):
        if not above.stat().st_mode & 0o001:  # pytest's own, which nobody else may enter
            above.chmod(0o755)
    data = place / "data"
    made = [*user, binaries / "initdb", "-D", data, "-U", "r2d2", "-A", "trust", "--no-sync"]
    subprocess.run([*map(str, made)], check=True, capture_output=True)
    command = [*user, binaries / "postgres", "-D", data, "-k", place, "-c", "listen_addresses="]
    server = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(host=str(place), user="r2d2", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < end
                time.sleep(0.2)
        yield f"postgresql+psycopg://r2d2@/postgres?host={place}"
    finally:
        server.send_signal(signal.SIGINT)  # at once, whoever is connected
        server.wait()
