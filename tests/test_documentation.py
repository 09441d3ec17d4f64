"""README and docs/: their Python runs, their commands, settings and links exist, and so do the functions they name."""

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
import typer
import yaml

import r2d2
from dist_training.record import events
from dist_training.record.run_folder import RunFolder
from imgmed import prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.cli_page import cli_page
from r2d2.config import configure
from r2d2.engine.words import settings_of_words
from r2d2.settings_page import settings_page
from r2d2.tasks.registry import find_task
from tests.test_architecture import MAY_IMPORT_OF_OURS, bound_names, imports, package_of, relative, tree_of

REPOSITORY = Path(__file__).resolve().parent.parent
ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
CALLS = REPOSITORY / "docs" / "reference" / "python.md"
TASKS = ("inspect", "prepare", "train", "cross_validate", "predict", "evaluate", "compare", "report")
GROUPS = ("convert", "engine", "jobs", "monitor", "zoo")
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")] + sorted(
    (REPOSITORY / "docs").rglob("*.md")
)


PYTHON_NOT_RUN = {
    "from r2d2.tasks.zoo import PullSettings, pull": "needs a registry: tests/r2d2/zoo/registries have servers",
    "from r2d2.tasks.zoo_export import ExportSettings, export": "needs a training: tests/r2d2/zoo/exchange have one",
    "import json, onnxruntime": "needs the file that the one before writes: tests/r2d2/zoo/exchange read such files",
}
"""The blocks of Python that the pages show and no test of them runs, by their first lines, and why."""

COMMANDS_NOT_RUN = {
    "curl": "needs a server: tests/web ask it the same",
    "cyclonedx-py": "needs an image, and a package that is not ours",
    "cd": "goes into a folder of the checkout",
    "docker": "needs a daemon: tests/containers have one",
    "export": "changes the shell",
    "git": "changes the checkout",
    "HOROVOD_WITH_TENSORFLOW=1": "takes minutes; the Makefile does it",
    "make": "runs these tests",
    "openssl": "makes secrets: tests/r2d2/zoo/registries call it",
    "pip": "changes the environment; the Makefile does it",
    "python": "takes minutes: benchmarks that a person runs, and what `make docs` calls",
    "sh": "trains for hours: tests/end_to_end/test_recipes.py run the recipes with tiny networks",
    "source": "changes the shell",
    "tail": "shows a file",
    "tar": "needs an archive that is not ours to hand out",
    "touch": "makes a file",
    '{"error":': "is no command, but the answer to one",
}
"""Commands that the pages show beside `r2d2` and `horovodrun`, and why no test runs them as they stand there.

Those of R2D2 are understood by its own command line; the tutorial's, and the README's, are run (tests/end_to_end)."""


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
        if block.partition("\n")[0] not in PYTHON_NOT_RUN:
            exec(compile(block, page.name, "exec"), names)


def shown_commands(page: Path) -> Iterator[str]:
    """The first words of what a page shows to be typed: indented lines, and lines of `sh` blocks."""
    language: str | None = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if fence := re.match(r"```(\w*)", line):
            language = fence[1] if language is None else None
        elif (language is None and re.match(r"    \S", line)) or (language == "sh" and line.strip()):
            yield line.split()[0]


def test_what_is_not_run_has_a_reason() -> None:
    """Two lists hold all of it, and nothing else."""
    typed = {word for page in PAGES for word in shown_commands(page)}
    assert typed - {"r2d2", "horovodrun"} == set(COMMANDS_NOT_RUN)
    first_lines = {block.partition("\n")[0] for page in PAGES for block in blocks(page, "python")}
    assert set(PYTHON_NOT_RUN) <= first_lines
    assert all([*COMMANDS_NOT_RUN.values(), *PYTHON_NOT_RUN.values()])
    languages = {word for page in PAGES for word in re.findall(r"^```(\S*)$", page.read_text(encoding="utf-8"), re.M)}
    assert languages == {"", "json", "python", "sh", "text", "yaml", "{toctree}", "{eval-rst}"}


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


def test_the_page_of_commands_is_what_the_code_has() -> None:
    page = (REPOSITORY / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_page(), "make docs writes it"
    assert {f"--{word}" for word in ("on-empty", "trust-code", "max-restarts")} <= set(re.findall(r"--[a-z-]+", page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_is_a_configuration(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert configure(yaml.safe_load(block))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-c", "docs"]
    built = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), ".", str(folder / "html")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    return folder / "html"


class PageReader(HTMLParser):
    """What a page of the site refers to, and the names of its places."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.targets |= {value for key in ("href", "src") if (value := given.get(key))}
        self.places |= {value for key in ("id", "name") if (value := given.get(key))}


@pytest.mark.slow
def test_inner_links_of_the_site(site: Path) -> None:
    """Every page of ours is there, every link of a page leads to a page or a file, and to a place in it."""
    pages = {path.resolve(): PageReader(path) for path in site.rglob("*.html")}
    assert {(site / page.relative_to(REPOSITORY)).with_suffix(".html") for page in PAGES[1:]} <= set(pages)
    missing = []
    for path, page in pages.items():
        for target in (target for target in page.targets if not re.match(r"[a-z]+:", target)):
            file, _, place = target.partition("#")
            there = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            if not there.exists() or (place and there in pages and unquote(place) not in pages[there].places):
                missing.append(f"{path.relative_to(site)}: {target}")
    assert missing == []
    assert sum(len(page.targets) for page in pages.values()) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("hausdorff", "docs/science/conventions.html"),
        ("resume", "docs/guides/resume.html"),
        ("xyzt_units", "docs/reference/layouts.html"),
    ],
)
def test_the_site_is_searched_without_a_server(site: Path, words: str, found: str) -> None:
    """A browser finds words in the files themselves, guides first."""
    with ThreadPoolExecutor(1) as thread:  # a thread has a browser of its own beside one that other tests hold
        assert found in thread.submit(searched, site, words, found).result()


def searched(site: Path, words: str, found: str) -> list[str]:
    """The first pages that the site's search finds."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{(site / 'search.html').as_uri()}?q={words}")
        hits = page.locator("ul.search > li > a")
        expect(hits.filter(has=page.locator(f"xpath=self::a[contains(@href, '{found}')]")).first).to_be_visible()
        expect(page.locator(".search-summary")).to_contain_text("finished")
        places = [str(hit.get_attribute("href")).partition("?")[0].partition("#")[0] for hit in hits.all()[:3]]
        browser.close()
    return places


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
    page = (REPOSITORY / "docs" / "reference" / "run_folder.md").read_text(encoding="utf-8")
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
    picture = (REPOSITORY / "docs" / "pictures" / "house.svg").read_text(encoding="utf-8")
    boxes = set(re.findall(r'<g id="([\w/]+)"', picture))
    arrows = re.findall(r'data-from="([\w/]+)" data-to="([\w/]+)"', picture)
    assert boxes >= set(MAY_IMPORT_OF_OURS) and boxes >= {box for arrow in arrows for box in arrow}
    assert [box for box in boxes if not (REPOSITORY / box).is_dir() and not (REPOSITORY / f"{box}.py").is_file()] == []
    assert len(arrows) > 20
    assert [f"{a} -> {b}" for a, b in arrows if b not in imported_by(a)] == []
    folders = {f"dist_training/{path.parent.name}" for path in (REPOSITORY / "dist_training").glob("*/__init__.py")}
    assert {box for box in boxes if box.startswith("dist_training/")} == folders
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
