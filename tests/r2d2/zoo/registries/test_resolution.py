"""Which model a name of the zoo means: on this machine alone, and none that would run code."""

from pathlib import Path

import pytest

from dist_training.architectures import CustomSettings
from r2d2.errors import ZooError
from r2d2.prediction.model import resolve_ensemble, resolve_model
from r2d2.prediction.predictor import Predictor
from r2d2.tasks.registries import AddSettings, add_registry
from r2d2.tasks.zoo import PullSettings, pull
from r2d2.zoo.registries.names import ZooName
from r2d2.zoo.registries.resolution import name_of, resolve
from tests.web_server import WebServer
from tests.zoo_models import add_model, begin_empty


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of what R2D2 ships."""
    begin_empty(tmp_path, monkeypatch)
    return tmp_path / "shipped"


def test_a_name_is_the_newest_version_of_the_local_zoo_and_of_what_is_shipped(zoo: Path, shipped: Path) -> None:
    add_model(zoo, "nuclei", b"1")
    assert resolve_model("zoo:nuclei") == resolve_model(Path("zoo:nuclei:1")) == zoo / "nuclei/1"
    add_model(shipped, "nuclei", b"shipped 1")
    assert resolve_model("zoo:nuclei") == zoo / "nuclei/1", "the local zoo comes first"
    add_model(shipped, "nuclei", b"shipped 2")
    assert resolve_model("zoo:nuclei") == resolve_model("zoo:nuclei:2") == shipped / "nuclei/2"
    assert resolve_ensemble(["zoo:nuclei:1", "zoo:nuclei:2"]) == (zoo / "nuclei/1", shipped / "nuclei/2")
    assert [name_of(place) for place in (zoo / "nuclei/1", shipped / "nuclei/2", zoo / "nuclei")] == [
        ZooName("nuclei", 1),
        ZooName("nuclei", 2),
        None,
    ]


def test_what_is_not_here_is_one_line_and_asks_nobody(zoo: Path, server: WebServer) -> None:
    for name, said in (
        ("zoo:nuclei", "there is no model nuclei in the zoo; 'r2d2 zoo list' shows what there is"),
        ("zoo:Nuclei", "'Nuclei' is no name for the zoo"),
    ):
        with pytest.raises(ZooError, match=said):
            resolve_model(name)
    add_registry(AddSettings(name="hospital", location=server.address))
    with pytest.raises(ZooError, match=r"^zoo:nuclei is not on this machine, but in hospital"):
        resolve_model("zoo:nuclei")
    pull(PullSettings(model="hippocampus-unet:1"))
    asked = len(server.asked)
    for name, said in (
        ("zoo:nuclei", r"^zoo:nuclei is not on this machine, but in hospital; fetch it: r2d2 zoo pull nuclei$"),
        ("zoo:hippocampus-unet:2", r"but in hospital; fetch it: r2d2 zoo pull hippocampus-unet:2$"),
        ("zoo:hippocampus-unet:3", r"^zoo:hippocampus-unet:3 is not here; there is hippocampus-unet:1$"),
        ("zoo:hipocampus", r"^there is no model hipocampus in the zoo; did you mean hippocampus-unet\?$"),
    ):
        with pytest.raises(ZooError, match=said):
            resolve_model(name)
    assert len(server.asked) == asked


def test_a_model_of_the_zoo_runs_no_code_whoever_is_trusted(zoo: Path) -> None:
    """One that got there by hand: nothing else lets it in."""
    add_model(zoo, "mine", network=CustomSettings(build="tests.small_network:build"))
    with pytest.raises(ZooError, match=r"^zoo:mine:1: its card names code that would run, tests\.small_network:build"):
        Predictor("zoo:mine", trust_code=True)
    with pytest.raises(ZooError, match="names code"):
        resolve("mine:1")
