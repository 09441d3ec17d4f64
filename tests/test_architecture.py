"""The house plan, enforced: who imports whom, who loads what, and a few rules that no linter knows.

The table repeats the one in the design; the imports are read from the source (AST), at module level and
inside functions alike, so that a lazy import cannot slip through.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

MAY_IMPORT_OF_OURS = {
    "r2d2_base": set(),
    "imgmed": {"r2d2_base"},
    "segeval": {"r2d2_base"},
    "dist_training": {"r2d2_base", "imgmed", "segeval"},
    "r2d2": {"r2d2_base", "imgmed", "segeval", "dist_training"},
    "web": {"r2d2"},
}
MUST_NOT_IMPORT = {
    "r2d2_base": {"numpy", "scipy", "nibabel", "SimpleITK", "keras", "tensorflow", "horovod", "flask"},
    "imgmed": {"keras", "tensorflow", "horovod", "flask"},
    "segeval": {"keras", "tensorflow", "horovod", "flask"},
    "dist_training": {"flask"},
    "r2d2": {"flask"},
    "web": {"keras", "tensorflow", "horovod"},
}
ONLY_IMPORTER_OF_HOROVOD = "dist_training/ranks/communicator.py"
VAGUE_FILE_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
HEAVY = {"keras", "tensorflow", "horovod"}
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "rt-utils": "rt_utils",
    "simpleitk": "SimpleITK",
    "tensorflow-cpu": "tensorflow",
}

OURS = {name for name in MAY_IMPORT_OF_OURS if (REPOSITORY / name / "__init__.py").is_file()}
SOURCES = sorted(path for name in OURS for path in (REPOSITORY / name).rglob("*.py"))


def imported_modules(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Every module that a source imports, wherever it stands, as (dotted name, line).

    `package` is the dotted package of the source: relative imports start from it.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name("." * node.level + (node.module or ""), package)
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and is_import_function(node.func):
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield absolute_name(first.value, package), node.lineno


def is_import_function(function: ast.expr) -> bool:
    """Whether an expression is `__import__`, `import_module` or `<something>.import_module`."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"__import__", "import_module"}


def absolute_name(name: str, package: str) -> str:
    """The absolute dotted name of a possibly relative one, seen from `package`."""
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    parents = package.split(".")[: len(package.split(".")) - (level - 1)]
    return ".".join([*parents, *filter(None, [name.lstrip(".")])])


def violations(source: str, path: str) -> list[str]:
    """The rules of the house plan that a source breaks; `path` is relative to the repository."""
    package = path.split("/")[0]
    found = set()
    for module, line in imported_modules(ast.parse(source), ".".join(Path(path).parent.parts)):
        root = module.split(".")[0]
        if root in MAY_IMPORT_OF_OURS and root != package and root not in MAY_IMPORT_OF_OURS[package]:
            allowed = ", ".join(sorted(MAY_IMPORT_OF_OURS[package])) or "none of our packages"
            found.add(f"{path}:{line}: {package} may import {allowed}; received {root}")
        if root in MUST_NOT_IMPORT[package]:
            found.add(f"{path}:{line}: {package} must not load {root}")
        if root == "horovod" and path != ONLY_IMPORTER_OF_HOROVOD:
            found.add(f"{path}:{line}: only {ONLY_IMPORTER_OF_HOROVOD} imports horovod")
    return sorted(found)


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_follow_the_house_plan(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), relative(path)) == []


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("imgmed/volume.py", "def f():\n    import tensorflow as tf\n", "must not load tensorflow"),
        ("imgmed/volume.py", "from keras import layers\n", "must not load keras"),
        ("imgmed/formats/nifti.py", "from segeval.overlap import dice\n", "may import r2d2_base"),
        ("imgmed/formats/nifti.py", "from ...segeval import dice\n", "may import r2d2_base"),
        ("segeval/overlap.py", "class A:\n    def b(self):\n        import r2d2.cli\n", "received r2d2"),
        (
            "dist_training/run/train.py",
            "import importlib\nimportlib.import_module('r2d2.config')\n",
            "received r2d2",
        ),
        ("dist_training/run/train.py", "if False:\n    from flask import Flask\n", "must not load flask"),
        (
            "dist_training/run/train.py",
            "import horovod.tensorflow as hvd\n",
            "only dist_training/ranks/communicator.py",
        ),
        ("r2d2/doctor.py", "def f():\n    __import__('horovod.tensorflow')\n", "only dist_training/ranks/"),
        ("r2d2/cli/main.py", "async def f():\n    from web import app\n", "received web"),
        ("web/app.py", "from imgmed import read_volume\n", "received imgmed"),
        ("web/app.py", "import_module('tensorflow')\n", "must not load tensorflow"),
    ],
)
def test_the_check_catches(path: str, source: str, reason: str) -> None:
    found = violations(source, path)
    assert any(reason in violation for violation in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dist_training/ranks/communicator.py", "def f():\n    import horovod.tensorflow as hvd\n"),
        ("dist_training/inputs/feed.py", "from imgmed import PreparedDataset\nimport keras\n"),
        ("dist_training/architectures/unet.py", "from ..losses import build_loss\nfrom . import fcn\n"),
        ("r2d2/prediction/predict.py", "import segeval\nfrom dist_training import losses\n"),
        ("imgmed/volume.py", "from . import errors\n# import tensorflow\nNAME = 'tensorflow'\n"),
    ],
)
def test_the_check_lets_pass(path: str, source: str) -> None:
    assert violations(source, path) == []


def declared_modules() -> set[str]:
    """The import names of what pyproject.toml declares, and Horovod, which is installed by itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for lines in requirements for line in lines}
    return {IMPORT_NAMES.get(name, name) for name in names} | {"horovod"}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_declared_dependencies_are_imported(path: Path) -> None:
    """A package that only happens to be installed, because another needs it, may be gone tomorrow."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {
        name.split(".")[0] for name, _ in imported_modules(tree, ".".join(path.relative_to(REPOSITORY).parent.parts))
    }
    assert roots - declared_modules() - OURS - set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_file_is_named_after_what_it_holds(path: Path) -> None:
    assert path.name not in VAGUE_FILE_NAMES


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_assert_outside_tests(path: Path) -> None:
    """`python -O` drops assert statements: checks raise."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


def bound_names(tree: ast.Module) -> set[str]:
    """The names that a module binds at its top level, also within `if` and `try`."""
    names: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            pending.extend(ast.iter_child_nodes(node))
    return names


def declared_all(tree: ast.Module) -> list[str] | None:
    """The value of `__all__` in a module, or None where it has none."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))
    return None


PACKAGE_FILES = [path for path in SOURCES if path.name == "__init__.py"]


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=relative)
def test_package_declares_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.with_suffix(".pyi").exists():
        return  # the stub is the list, see test_what_a_stub_promises_is_there
    offered, bound = declared_all(tree), bound_names(tree)
    if offered is None:
        is_inner_package = path.parent.parent != REPOSITORY
        assert is_inner_package and not bound, f"{relative(path)} needs __all__"
        return
    assert len(offered) == len(set(offered)), "a name stands twice in __all__"
    modules = {item.stem for item in path.parent.iterdir()}
    if "__getattr__" not in bound:
        assert set(offered) - bound - modules == set(), "__all__ promises what the package does not have"


@pytest.mark.parametrize("path", [path for path in PACKAGE_FILES if path.with_suffix(".pyi").exists()], ids=relative)
def test_what_a_stub_promises_is_there(path: Path) -> None:
    """A package whose names are imported on first use lists them in its stub, once."""
    tree = ast.parse(path.with_suffix(".pyi").read_text(encoding="utf-8"))
    for node in tree.body:
        assert isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is not None
        home = ast.parse((path.parent / f"{node.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        for alias in node.names:
            assert alias.name == alias.asname, "only 'name as name' is exported by a stub"
            assert alias.name in bound_names(home), f"{node.module} has no {alias.name}"


def test_requirements_are_exact_and_stand_once() -> None:
    """One version of each package, no addresses and no options: those are the installing machine's choice."""
    peers = REPOSITORY / "requirements" / "peers.txt"  # an environment of its own, which may have other versions
    for files in (sorted(set(peers.parent.glob("*.txt")) - {peers}), [peers]):
        lines = [
            line for path in files for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
        ]
        assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9-]+==[0-9]+(\.[0-9]+)*", line)] == []
        names = [line.partition("==")[0].lower() for line in lines]
        assert len(names) == len(set(names)) > 0


SHOW_HELP = """
import sys
from r2d2.cli import main
sys.argv = ["r2d2", "--help"]
try:
    main()
except SystemExit as end:
    if end.code not in (0, None):
        raise
"""


@pytest.mark.parametrize(
    "statements",
    ["import imgmed", "import segeval", SHOW_HELP],
    ids=["imgmed", "segeval", "r2d2 --help"],
)
def test_loads_no_tensorflow(statements: str) -> None:
    loaded = "import sys\nprint('loaded:', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{loaded}"],
        capture_output=True,
        encoding="utf-8",  # whatever locale a library of another test has left behind
        timeout=120,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())
    assert "sys" in modules, "the list of modules is not what was printed"
    assert modules & HEAVY == set()
