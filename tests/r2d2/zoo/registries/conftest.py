"""A registry with models, a web server that serves it, and a local zoo that begins empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from r2d2.zoo.registries import web
from tests.web_server import WebServer, served
from tests.zoo_models import WEIGHTS, add_model, begin_empty


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Two versions of one model, and another model."""
    folder = tmp_path / "registry"
    add_model(folder, "hippocampus-unet", WEIGHTS)
    add_model(folder, "hippocampus-unet", WEIGHTS + b"2", title="Better")
    add_model(folder, "nuclei", b"nuclei", title="Cell nuclei")
    return folder


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the local zoo."""
    return begin_empty(tmp_path, monkeypatch)


@pytest.fixture
def server(registry: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """The registry behind HTTP, asked twice, and quickly."""
    monkeypatch.setattr(web, "PATIENCE", web.Patience(answer_s=2, tries=2, pause_s=0))
    with served(registry) as server:
        yield server
