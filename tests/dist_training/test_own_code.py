"""Code named module:function, where an engine says which folders may hold it."""

import sys
from pathlib import Path

import pytest

from dist_training.own_code import CODE_ROOTS, import_module_of
from r2d2_base.errors import ConfigurationError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is named, and a working folder that is not; each has a module that says when it is run."""
    here = tmp_path / "here"
    for folder, name in ((tmp_path / "named", "code_of_the_lab"), (here, "code_of_a_stranger")):
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / name)!r}).touch()\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.path", sys.path.copy())
    monkeypatch.setenv(CODE_ROOTS, str(tmp_path / "named"))
    return tmp_path / "named"


def test_code_of_a_named_folder_is_run(root: Path) -> None:
    import_module_of("code_of_the_lab:build", "network")
    assert (root.parent / "code_of_the_lab").exists()


@pytest.mark.parametrize("name", ["code_of_a_stranger:build", "os:system", "json.decoder:JSONDecoder", "nowhere:f"])
def test_code_of_elsewhere_is_not(root: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"the loss {name} is code, .* named: {root}"):
        import_module_of(name, "loss")
    assert not (root.parent / "code_of_a_stranger").exists()


def test_a_link_out_of_a_named_folder_is_followed_first(root: Path) -> None:
    (root / "linked.py").symlink_to(root.parent / "here" / "code_of_a_stranger.py")
    with pytest.raises(ConfigurationError, match="linked:f is code"):
        import_module_of("linked:f", "loss")
    assert not (root.parent / "code_of_a_stranger").exists()


def test_where_none_is_named_none_is_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE_ROOTS, "")
    with pytest.raises(ConfigurationError, match="named: none"):
        import_module_of("code_of_the_lab:build", "network")
