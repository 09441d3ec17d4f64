"""README and docs/: their Python runs, their commands are understood, their settings and links exist."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from imgmed import prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.config import configure
from r2d2.settings_page import settings_page

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((REPOSITORY / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.stem


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' examples read: a study's dataset, a folder of scans, one scan and its label map."""
    folder = tmp_path_factory.mktemp("docs")
    phantom = write_phantom_study(folder / "phantom", cases=5, shape=(32, 40, 8))
    prepare_dataset(phantom, folder / "work" / "liver")
    scans = sorted((phantom / "imagesTr").iterdir())
    (folder / "scans").mkdir()
    for path in scans[:2]:
        shutil.copy(path, folder / "scans")
    shutil.copy(scans[0], folder / "ct.nii.gz")
    shutil.copy(phantom / "labelsTr" / scans[0].name, folder / "label.nii.gz")
    return folder


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_runs(page: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, the later ones with the names of the earlier ones."""
    shutil.copytree(study, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


def test_pages_with_python_are_found() -> None:
    assert {page.stem for page in WITH_PYTHON} >= {"imgmed", "operations", "convert", "layouts"}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every r2d2 command that stands on a line of its own."""
    for line in page.read_text(encoding="utf-8").splitlines():
        found = re.match(r"    (?:horovodrun -np \d+ )?r2d2 (.+)", line)
        if found:
            yield shlex.split(found[1], comments=True)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` name, and the words that are left."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", ()):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood(page: Path) -> None:
    for words in commands(page):
        command, rest = command_of(words)
        assert command.name == words[0] or words[:2] == ["convert", command.name], words
        command.make_context("r2d2", list(rest)).close()  # raises where an option, or its value, is unknown
        settings = [word for word in rest if re.match(r"[a-z_.]+=", word)]
        assert configure({}, assignments=settings)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_and_settings_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in re.findall(r"`r2d2 ([a-z][^`]*)`", text):
        command, rest = command_of(words.split())
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", " ".join(rest))) <= known, words
    values = r"\[.*\]|[a-z0-9_]+"
    assert configure(
        {}, assignments=re.findall(rf"`((?:preparation|training|augmentation)\.[a-z_]+=(?:{values}))`", text)
    )


def test_the_page_of_settings_is_what_the_code_has() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "make docs writes it"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_is_a_configuration(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert configure(yaml.safe_load(block))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []
