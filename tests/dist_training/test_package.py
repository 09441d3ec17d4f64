"""What importing the package does to a process: TensorFlow, loaded later, uses oneDNN unless its user says no."""

import os
import platform
import subprocess
import sys

import pytest


@pytest.mark.parametrize("said", [None, "0"])
def test_onednn_is_on_unless_the_user_says_otherwise(said: str | None) -> None:
    name = "TF_ENABLE_ONEDNN_OPTS"
    environment = {key: value for key, value in os.environ.items() if key != name} | ({name: said} if said else {})
    code = f"import os, sys, dist_training; print(os.environ.get({name!r}), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = said or ("1" if platform.machine() in ("x86_64", "AMD64") else None)
    assert done.stdout.split() == [str(expected), "False"]
