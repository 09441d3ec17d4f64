"""Tests divided among processes of which one dies."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFTEST = """
from tests.dividing import ByFile

def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return ByFile(config, log, together=("both/",))
"""
ENDS_WELL = "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n"
DIES = "import os\ndef test_1(): pass\ndef test_2(): os._exit(7)\ndef test_3(): pass\ndef test_4(): pass\n"
OPTIONS = ("-v", "-n2", "--import-mode=importlib", "-pno:randomly", "-pno:cacheprovider", "-pno:hypothesispytest")


def test_whoever_dies_fails_and_all_others_are_run_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "both").mkdir()
    for name in ("both/test_1", "both/test_2", "test_1", "test_2", "test_3", "test_4", "test_5"):
        (tmp_path / f"{name}.py").write_text(DIES if name == "test_3" else ENDS_WELL)
    command = [sys.executable, "-m", "pytest", *OPTIONS, str(tmp_path)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "1 failed, 21 passed" in answer.stdout
    assert re.search(r"worker '\w+' crashed while running 'test_3.py::test_2'", answer.stdout)
    together = re.findall(r"\[(gw\d)\].*PASSED both/", answer.stdout)
    assert len(together) == 6 and len(set(together)) == 1, answer.stdout
