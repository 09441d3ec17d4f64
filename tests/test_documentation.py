"""README and docs/: their Python runs, their commands, settings and links exist, and so do the functions they name."""

import ast
import inspect
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml

import r2d2
from dist_training.record import events
from dist_training.record.run_folder import RunFolder
from imgmed import prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.config import configure
from r2d2.engine.words import settings_of_words
from r2d2.settings_page import settings_page
from r2d2.tasks.registry import find_task
from tests.test_architecture import MAY_IMPORT_OF_OURS, bound_names, imports, package_of, relative, tree_of

REPOSITORY = Path(__file__).resolve().parent.parent
ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
CALLS = REPOSITORY / "docs" / "python.md"
TASKS = ("inspect", "prepare", "train", "cross_validate", "predict", "evaluate", "compare", "report")
GROUPS = ("convert", "engine", "jobs", "monitor", "zoo")
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


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    """How a page's Python is chosen: what speaks of networks loads TensorFlow."""
    loads = any(name in page.read_text(encoding="utf-8") for name in ("from dist_training", "import keras"))
    return [pytest.mark.long] * (page == CALLS) + [pytest.mark.tensorflow] * loads


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=_marks(page)) for page in WITH_PYTHON],
)
def test_python_runs(page: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, the later ones with the names of the earlier ones."""
    shutil.copytree(study, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


def test_the_calls_of_the_python_page_are_offered() -> None:
    """Each task is called there; calls take the arguments, and settings the fields, that are given."""
    named = set()
    for node in (node for block in blocks(CALLS, "python") for node in ast.walk(ast.parse(block))):
        called = node.func if isinstance(node, ast.Call) else node
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) == "r2d2":
            named.add(called.attr)
            assert called.attr in r2d2.__all__
            if isinstance(node, ast.Call):
                given = {str(keyword.arg): keyword.value for keyword in node.keywords}
                inspect.signature(getattr(r2d2, called.attr)).bind(*node.args, **given)
    assert named >= {*TASKS, *(f"{name}Settings" for name in ("Inspect", "Prepare", "Train", "Predict", "Evaluate"))}


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
def test_commands_are_understood(page: Path, tmp_path: Path) -> None:
    for words in commands(page):
        command, rest = command_of(words)
        assert command.name in (words[0], *(words[1:2] if words[0] in GROUPS else ())), words
        command.make_context("r2d2", list(rest)).close()  # raises where an option, or its value, is unknown
        settings = [word for word in rest if re.match(r"[a-z_.]+=", word)]
        if words[:2] == ["jobs", "submit"]:
            assert settings_of_words(find_task(rest[0]), settings, tmp_path)
        elif words[0] != "control":  # whose words are requests
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
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path = page.parent / target if target else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_events_and_files_of_a_run_are_described() -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `\w+`[^|]*\|[^|]*\|(.*)\|$", page, re.MULTILINE)
    described = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    kinds = [get_args(kind)[0] for kind in get_args(get_args(events.Event)[0])]
    assert described == {kind.__name__: set(kind.model_fields) - {"event", "time", "state"} for kind in kinds}
    files = {path.name for path in vars(RunFolder(Path())).values()} - {""}
    assert {name for name in files if f"`{name}`" not in page and f"`{name}/" not in page} == set()


def defined_in(path: Path) -> set[str]:
    """What a source defines: names at its top level, and `Class.name` for what its classes have."""
    tree = tree_of(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return bound_names(tree) | {
        f"{one.name}.{name}" for one in classes for name in bound_names(ast.Module(one.body, []))
    }


def test_files_and_functions_of_the_architecture_exist() -> None:
    """In a line, the functions named behind a file are in it."""
    named, missing = 0, []
    for line in ARCHITECTURE.read_text(encoding="utf-8").splitlines():
        path = None
        for word in re.findall(r"`([^`\s]+)`", line):
            if re.fullmatch(r"(\w+/)+(\w+\.py)?", word) and word.partition("/")[0] in {*MAY_IMPORT_OF_OURS, "tests"}:
                path = REPOSITORY / word
                missing += [] if path.exists() else [word]
            elif path is not None and path.is_file() and re.fullmatch(r"\w+(\.\w+)?", word):
                named += 1
                missing += [] if word in defined_in(path) else [f"{relative(path)}: {word}"]
    assert missing == []
    assert named > 40


def test_the_picture_of_the_architecture_is_true() -> None:
    """Its boxes are there, its arrows are imports, and its table says who may import whom."""
    picture = blocks(ARCHITECTURE, "mermaid")[0]
    boxes = dict(re.findall(r'(\w+)\["([\w/]+)', picture)) | {name: name for name in MAY_IMPORT_OF_OURS}
    arrows = re.findall(r"(\w+)(?:\[[^]]*\])? --> (\w+)", picture)
    assert len(arrows) > 20
    assert [f"{a} -> {b}" for a, b in arrows if boxes[b] not in imported_by(boxes[a])] == []
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\|([^|]*)\|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    table = {name: set(re.findall(r"`(\w+)`", allowed)) for name, allowed in rows}
    assert table == {name: MAY_IMPORT_OF_OURS[name] for name in table} and len(table) == 6


@pytest.mark.parametrize(
    ("page", "package"), [("CONTRIBUTING.md", "dist_training"), ("docs/architecture.md", "r2d2/zoo")]
)
def test_folders_stand_in_order(page: str, package: str) -> None:
    """In the table of a package's folders each imports only folders above it."""
    table = (REPOSITORY / page).read_text(encoding="utf-8").partition(f"| in `{package}/` |")[2].partition("\n\n")[0]
    rows = [re.findall(r"(\w+)/`", line.split("|")[1]) for line in table.splitlines()[2:]]
    folders = [folder for row in rows for folder in row]
    assert sorted(folders) == sorted(path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py"))
    for at, folder in enumerate(folders):
        imported = imported_by(f"{package}/{folder}") - {f"{package}/{folder}"}
        assert [other for other in folders[at:] if f"{package}/{other}" in imported] == [], folder


def imported_by(box: str) -> set[str]:
    """The modules and folders that a module or a folder of ours imports, as paths without suffix."""
    place = REPOSITORY / box
    sources = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    found = set()
    for path in sources:
        for module, names, _ in imports(tree_of(path), package_of(relative(path))):
            parts = [*module.split("."), ""]
            found |= {"/".join([*parts[:-1], *end]) for end in ([], *([name] for name in names))}
            found |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return found
