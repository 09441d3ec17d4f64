"""What all tests share: a quiet, single-threaded environment, their order, and the folder of real scans."""

import gc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

# Set before any test imports TensorFlow, and inherited by every process that a test starts.
QUIET_AND_SINGLE_THREADED = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than what is compiled
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",  # as R2D2 has it, also where a test loads TensorFlow first
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}

START_WORKERS = "tests/distributed/"
"""Tests that start jobs of several workers, which take all cores and a third of the suite's time: no two at once."""
AT_BROWSERS = "tests/console/"
"""Tests that share one server, with its engine and a training."""
LONGEST_FIRST = (
    START_WORKERS,
    AT_BROWSERS,
    "tests/end_to_end/",
    "tests/dist_training/",
    "tests/contracts/",
    "tests/r2d2/",
)
"""What takes long is begun with, so that all test processes end together."""
ORDER = 2612
"""The seed from which pytest-randomly draws the order of the tests, unless another is given."""

# Machines differ in speed and cores are shared: a slow example is no fault; and examples may share a test's folder.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
# The same examples in every run, so that one fails for a change and never by luck; `--long` draws others.
settings.register_profile("same", UNHURRIED, derandomize=True, database=None)
settings.register_profile("long", UNHURRIED, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of this suite."""
    parser.addoption("--long", action="store_true", help="run the tests that take many minutes too; draw examples anew")
    parser.addoption("--containers", action="store_true", help="run the tests with Docker: make test-containers")
    parser.addoption("--screenshots", metavar="FOLDER", help="leave pictures of the console's pages in a folder")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests and those with Docker unless asked for them; begin with what takes longest."""
    for mark in ("long", "containers"):
        if not config.getoption(f"--{mark}"):
            left_out = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[int, bool]:
    """Tests of pools of workers come together, as a pool that waits takes time from the others."""
    folder = next((place for place, name in enumerate(LONGEST_FIRST) if item.nodeid.startswith(name)), 99)
    return folder, "pool_of" in getattr(item, "fixturenames", ())


def pytest_collection_finish() -> None:
    """What was imported stays: no collection of garbage looks through it again."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """The interpreter's last collection neither."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """What is chosen by `-m "not tensorflow"` loads none; and no test leaves Keras with a precision of its own."""
    if "not tensorflow" in item.config.getoption("markexpr") and "tensorflow" in sys.modules:
        del sys.modules["tensorflow"]  # so that only the first test that it is true of fails
        pytest.fail("this test, or what is imported for it, loads TensorFlow: mark it with pytest.mark.tensorflow")
    yield
    keras = sys.modules.get("keras")
    if keras is not None and (policy := keras.config.dtype_policy().name) != "float32":
        keras.config.set_dtype_policy("float32")  # so that only this test fails
        pytest.fail(f"this test leaves Keras with the dtype policy {policy}: set it back")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide whole files among test processes (`-n 3`); what starts workers goes to one, what is at browsers to one."""
    from tests.dividing import ByFile

    config.option.loadscopereorder = False  # the order is that of the collection
    return ByFile(config, log, together=(START_WORKERS, AT_BROWSERS))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the environment; what the person who runs the tests has set stays as it is."""
    gc.disable()  # until all is imported
    settings.load_profile("long" if config.getoption("--long") else "same")
    if not config.getoption("--long") and config.getoption("randomly_seed", None) == "default":
        config.option.randomly_seed = ORDER
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a script: what tests start would ignore Ctrl-C too, by inheritance.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, value in QUIET_AND_SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    search_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(REPOSITORY) not in search_path:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *filter(None, search_path)])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans (R2D2_REAL_DATA, else shared/data beside the repository), or a skip."""
    folder = Path(os.environ.get("R2D2_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} is not a folder; set R2D2_REAL_DATA to one")
    return folder
