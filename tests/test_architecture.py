"""The house plan, enforced: who imports whom, who loads what, and a few rules that no linter knows.

The table repeats the one in the design; the imports are read from the source (AST), at module level and
inside functions alike, so that a lazy import cannot slip through.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
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
MAY_ALSO_IMPORT = {"segeval/files/": ("imgmed.errors", "imgmed.formats", "imgmed.geometry")}
"""Modules of ours that a folder, and nothing else of its package, may import."""
MUST_NOT_IMPORT = {
    "r2d2_base": {"numpy", "scipy", "nibabel", "SimpleITK", "keras", "tensorflow", "horovod", "flask"},
    "imgmed": {"keras", "tensorflow", "horovod", "flask"},
    "segeval": {"keras", "tensorflow", "horovod", "flask"},
    "dist_training": {"flask"},
    "r2d2": {"flask"},
    "web": {"keras", "tensorflow", "horovod"},
}
IMPORTERS_OF_HOROVOD = (  # who talks and who starts
    "dist_training/ranks/communicator.py",
    "r2d2/launching/gloo.py",
    "r2d2/launching/rendezvous.py",
)
KNOWN_CIRCLES: set[tuple[str, str]] = set()
"""Imports (who, whom) that close a circle and are to go: whoever breaks one strikes it out here."""
VAGUE_FILE_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
HEAVY = {"keras", "tensorflow", "horovod"}
IMPORT_NAMES = {
    "flask-limiter": "flask_limiter",
    "flask-login": "flask_login",
    "flask-openapi3": "flask_openapi3",
    "flask-wtf": "flask_wtf",
    "influxdb-client": "influxdb_client",
    "lazy-loader": "lazy_loader",
    "mlflow-skinny": "mlflow",
    "nvidia-ml-py": "pynvml",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "pynacl": "nacl",
    "pyyaml": "yaml",
    "rt-utils": "rt_utils",
    "simpleitk": "SimpleITK",
    "tensorflow-cpu": "tensorflow",
}

OURS = {name for name in MAY_IMPORT_OF_OURS if (REPOSITORY / name / "__init__.py").is_file()}
SOURCES = sorted(path for name in OURS for path in (REPOSITORY / name).rglob("*.py"))


def imports(tree: ast.AST, package: str, types_too: bool = True) -> Iterator[tuple[str, list[str], int]]:
    """Every import of a source, wherever it stands, as (dotted module, names taken from it, line).

    `package` is the dotted package of the source: relative imports start from it. Without `types_too` what stands under
    `if TYPE_CHECKING:`, and is never imported by a running program, is left out.
    """
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute_name("." * node.level + (node.module or ""), package)
            yield module, [alias.name for alias in node.names], node.lineno
        elif isinstance(node, ast.Call) and node.args and is_import_function(node.func):
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield absolute_name(first.value, package), [], node.lineno
        is_for_types = isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING"
        pending += node.orelse if is_for_types and not types_too else ast.iter_child_nodes(node)


def is_import_function(function: ast.expr) -> bool:
    """Whether an expression is `__import__`, `import_module` or `<something>.import_module`."""
    return last_name(function) in {"__import__", "import_module"}


def last_name(expression: ast.expr) -> str:
    """`c` of `a.b.c` and of `c`; of other expressions nothing."""
    return expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")


def absolute_name(name: str, package: str) -> str:
    """The absolute dotted name of a possibly relative one, seen from `package`."""
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    parents = package.split(".")[: len(package.split(".")) - (level - 1)]
    return ".".join([*parents, *filter(None, [name.lstrip(".")])])


def package_of(path: str) -> str:
    """The dotted package of a source."""
    return ".".join(Path(path).parent.parts)


def violations(source: str, path: str) -> list[str]:
    """The rules of the house plan that a source breaks; `path` is relative to the repository."""
    package = path.split("/")[0]
    also = [module for folder, modules in MAY_ALSO_IMPORT.items() if path.startswith(folder) for module in modules]
    found = set()
    for module, _, line in imports(ast.parse(source), package_of(path)):
        root = module.split(".")[0]
        is_allowed = root in MAY_IMPORT_OF_OURS[package] or any(f"{module}.".startswith(f"{one}.") for one in also)
        if root in MAY_IMPORT_OF_OURS and root != package and not is_allowed:
            allowed = ", ".join(sorted(MAY_IMPORT_OF_OURS[package])) or "none of our packages"
            found.add(f"{path}:{line}: {package} may import {allowed}; received {root}")
        if root in MUST_NOT_IMPORT[package]:
            found.add(f"{path}:{line}: {package} must not load {root}")
        if root == "horovod" and path not in IMPORTERS_OF_HOROVOD:
            found.add(f"{path}:{line}: only {' and '.join(IMPORTERS_OF_HOROVOD)} import horovod")
    return sorted(found)


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_imports_follow_the_house_plan() -> None:
    assert len(OURS) >= 4
    assert [line for path in SOURCES for line in violations(path.read_text(encoding="utf-8"), relative(path))] == []


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("imgmed/volume.py", "def f():\n    import tensorflow as tf\n", "must not load tensorflow"),
        ("imgmed/volume.py", "from keras import layers\n", "must not load keras"),
        ("imgmed/formats/nifti.py", "from segeval.overlap import dice\n", "may import r2d2_base"),
        ("imgmed/formats/nifti.py", "from ...segeval import dice\n", "may import r2d2_base"),
        ("segeval/scoring.py", "def f():\n    from imgmed.formats import read_volume\n", "received imgmed"),
        ("segeval/files/label_map.py", "from imgmed.formats_of_mine import read\n", "received imgmed"),
        ("segeval/files/label_map.py", "from imgmed import read_study\n", "received imgmed"),
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
        ("r2d2/prediction/predictor.py", "import segeval\nfrom dist_training import losses\n"),
        ("segeval/files/label_map.py", "def f():\n    from imgmed.formats.pictures import SUFFIXES\n"),
        ("imgmed/volume.py", "from . import errors\n# import tensorflow\nNAME = 'tensorflow'\n"),
    ],
)
def test_the_check_lets_pass(path: str, source: str) -> None:
    assert violations(source, path) == []


def module_of(path: str) -> str:
    """The dotted name of a source."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def runs(path: str, source: str, modules: Collection[str]) -> set[str]:
    """The other modules that a source runs: those it imports, and the packages around them that are not around it."""
    own, found = module_of(path), set()
    for module, names, _ in imports(ast.parse(source), package_of(path), types_too=False):
        submodules = {f"{module}.{name}" for name in names} & set(modules)
        named = submodules if len(submodules) == len(names) > 0 else submodules | {module}
        parts = [name.split(".") for name in named]
        around = {".".join(part[:end]) for part in parts for end in range(1, len(part))}
        found |= named | {name for name in around if not own.startswith(f"{name}.")}
    return (found & set(modules)) - {own}


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Modules that import each other, along a circle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_modules_import_each_other() -> None:
    """Not in a circle of any length, and not by an import inside a function either: it only hides the circle."""
    modules = {module_of(relative(path)): path for path in SOURCES}
    graph = {name: runs(relative(path), path.read_text(encoding="utf-8"), modules) for name, path in modules.items()}
    broken = {name: {other for other in others if (name, other) not in KNOWN_CIRCLES} for name, others in graph.items()}
    assert " -> ".join(circle(broken)) == ""
    gone = [(a, b) for a, b in KNOWN_CIRCLES if b not in graph.get(a, ()) or not circle(broken | {a: broken[a] | {b}})]
    assert sorted(gone) == [], "to be struck out of KNOWN_CIRCLES"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"p/a.py": "from p import b", "p/b.py": "def f():\n    from .a import x"}, {"p.a", "p.b"}),
        ({"p/a.py": "import p.b", "p/b.py": "from . import c", "p/c.py": "import_module('.a')"}, {"p.a", "p.b", "p.c"}),
        ({"p/__init__.py": "from p.a import x", "p/a.py": "from . import x"}, {"p", "p.a"}),
        ({"p/a.py": "from p.q.b import x", "p/q/__init__.py": "import p.a", "p/q/b.py": ""}, {"p.a", "p.q"}),
        ({"p/a.py": "from p.b import x", "p/b.py": "if TYPE_CHECKING:\n    from p.a import y"}, set()),
        ({"p/__init__.py": "from p.a import x", "p/a.py": "from p.b import x", "p/b.py": "import q"}, set()),
    ],
)
def test_circles_are_found(sources: dict[str, str], expected: set[str]) -> None:
    modules = {module_of(path) for path in sources}
    assert set(circle({module_of(path): runs(path, source, modules) for path, source in sources.items()})) == expected


def declared_modules() -> set[str]:
    """The import names of what pyproject.toml declares, and Horovod, which is installed by itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for lines in requirements for line in lines}
    return {IMPORT_NAMES.get(name, name) for name in names} | {"horovod"}


def test_only_declared_dependencies_are_imported() -> None:
    """A package that only happens to be installed, because another needs it, may be gone tomorrow."""
    known = declared_modules() | OURS | set(sys.stdlib_module_names)
    assert [
        f"{relative(path)}:{line}: {module}"
        for path in SOURCES
        for module, _, line in imports(tree_of(path), package_of(relative(path)))
        if module.split(".")[0] not in known
    ] == []


def test_the_server_names_itself_nowhere() -> None:
    """Installed, `web` is called `r2d2_web`: its modules import each other relatively."""
    assert [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        if relative(path).startswith("web/")
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "web")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "web" for alias in node.names))
    ] == []


def test_files_are_named_after_what_they_hold() -> None:
    assert [relative(path) for path in SOURCES if path.name in VAGUE_FILE_NAMES] == []


def test_no_assert_outside_tests() -> None:
    """`python -O` drops assert statements: checks raise."""
    assert [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assert)
    ] == []


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


def faults_of_all(path: Path) -> Iterator[str]:
    """What is wrong with the `__all__` of a package; where there is a stub, that is the list."""
    if path.with_suffix(".pyi").exists():
        return
    offered, bound = declared_all(tree_of(path)), bound_names(tree_of(path))
    if offered is None:
        if path.parent.parent == REPOSITORY or bound:
            yield f"{relative(path)} needs __all__"
        return
    yield from (f"{relative(path)}: {name} stands twice" for name in {n for n in offered if offered.count(n) > 1})
    if "__getattr__" not in bound:
        missing = set(offered) - bound - {item.stem for item in path.parent.iterdir()}
        yield from (f"{relative(path)} promises {name} and does not have it" for name in sorted(missing))


def test_packages_declare_what_they_offer() -> None:
    assert [fault for path in SOURCES if path.name == "__init__.py" for fault in faults_of_all(path)] == []


STUBBED = [path for path in SOURCES if path.with_suffix(".pyi").exists()]


@pytest.mark.parametrize("path", STUBBED, ids=relative)
def test_what_a_stub_promises_is_there(path: Path) -> None:
    """A package whose names are imported on first use lists them in its stub, once."""
    tree = ast.parse(path.with_suffix(".pyi").read_text(encoding="utf-8"))
    for node in (node for node in tree.body if not isinstance(node, ast.AnnAssign)):  # such as __version__: str
        assert isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is not None
        place = path.parent / node.module.replace(".", "/")
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        home = ast.parse(file.read_text(encoding="utf-8"))
        for alias in node.names:
            assert alias.name == alias.asname, "only 'name as name' is exported by a stub"
            assert alias.name in bound_names(home), f"{node.module} has no {alias.name}"


def test_requirements_are_exact_and_stand_once() -> None:
    """One version of each package, no addresses and no options: those are the installing machine's choice."""
    folder = REPOSITORY / "requirements"
    apart = [folder / "peers.txt", folder / "mlflow_server.txt"]  # environments of their own, with other versions
    for files in (sorted(set(folder.glob("*.txt")) - set(apart)), *([path] for path in apart)):
        lines = [
            line for path in files for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
        ]
        exact = r"[A-Za-z0-9-]+==[0-9]+(\.[0-9]+)*(b[0-9]+)?"  # some packages have never been more than a beta
        assert [line for line in lines if not re.fullmatch(exact, line)] == []
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
    ["import imgmed", "import segeval", SHOW_HELP, "import web.server, web.engine_process"],
    ids=["imgmed", "segeval", "r2d2 --help", "r2d2 serve"],
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
