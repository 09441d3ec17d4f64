"""What a command loads before it begins: each second of it is one that every worker of every job waits."""

import subprocess
import sys

import pytest


def loaded_by(statements: str) -> set[str]:
    """The modules that a fresh process holds afterwards."""
    code = f"import sys\n{statements}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_a_job_is_planned_without_readers_of_scans() -> None:
    loaded = loaded_by("import r2d2.tasks.training, r2d2.launching.rank")
    assert "numpy" in loaded
    assert loaded & {"nibabel", "pydicom", "SimpleITK", "scipy.ndimage", "matplotlib", "tensorflow"} == set()


@pytest.mark.tensorflow
def test_keras_loads_no_matplotlib_and_without_collections_and_reports_still_can() -> None:
    loaded = loaded_by(
        "import gc\n"
        "def collections(): return sum(generation['collections'] for generation in gc.get_stats())\n"
        "from r2d2.cli.environment import quiet_tensorflow; quiet_tensorflow(False); before = collections()\n"
        "import keras\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert collections() - before < 20 and gc.isenabled() and gc.get_freeze_count() > 100_000\n"
        "import matplotlib.pyplot"
    )
    assert {"keras.src.models.model", "matplotlib.pyplot"} <= loaded
