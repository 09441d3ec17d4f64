"""The doctor: whole, broken and bare installations, each a real one."""

import dataclasses
import shlex
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from r2d2.dependencies import Package
from r2d2.doctor import Diagnosis, Framework, examine, probe_frameworks, read_probe, render
from r2d2_base.machine import Machine

REPOSITORY = Path(__file__).resolve().parents[2]

MACHINE = Machine("Linux", 2, 2, 8 * 2**30, 4 * 2**30, "/data", 10 * 2**30, ())
HEALTHY = Diagnosis(
    python_version="3.11.2",
    python_path="/env/bin/python",
    r2d2_version="0.1.0",
    checkout=None,
    packages=(
        Package("numpy", "runtime", ">=1.26,<2.1", None, "2.0.2"),
        Package("keras", "train", "==3.15.1", None, "3.15.1"),
        Package("tensorflow-cpu", "train", "==2.18.1", None, "2.18.1"),
        Package("Flask", "serve", ">=3.1.1,<3.2", None, "3.1.3"),
        Package("horovod", "workers", "==0.28.1", None, "0.28.1"),
    ),
    frameworks=(
        Framework("TensorFlow", "2.18.1", ("oneDNN",), ("CPU:0",)),
        Framework("Horovod", "0.28.1", ("TensorFlow", "Gloo")),
    ),
    horovodrun="/env/bin/horovodrun",
    compiler="/usr/bin/c++",
    make="/usr/bin/make",
    machine=MACHINE,
)


def with_installed(name: str, version: str | None) -> Diagnosis:
    packages = tuple(
        dataclasses.replace(item, installed=version) if item.name == name else item for item in HEALTHY.packages
    )
    return dataclasses.replace(HEALTHY, packages=packages)


def commands(diagnosis: Diagnosis) -> list[str]:
    return [remedy.command for remedy in diagnosis.remedies]


def test_a_healthy_installation_needs_nothing() -> None:
    assert HEALTHY.is_ready_to_train and HEALTHY.is_ready_for_workers
    assert HEALTHY.remedies == ()
    text = render(HEALTHY)
    assert "What to do" not in text
    assert text.splitlines()[-1] == "Ready to train: yes. Ready for several workers: yes. Ready to serve: yes."


def test_without_tensorflow_nothing_trains() -> None:
    diagnosis = with_installed("tensorflow-cpu", None)
    assert not diagnosis.is_ready_to_train and not diagnosis.is_ready_for_workers
    assert commands(diagnosis) == ["/env/bin/python -m pip install tensorflow-cpu==2.18.1"]


def test_without_the_extra_serve_all_but_the_server_works() -> None:
    diagnosis = with_installed("Flask", None)
    assert diagnosis.is_ready_for_workers and not diagnosis.is_ready_to_serve
    assert commands(diagnosis) == ["/env/bin/python -m pip install 'Flask>=3.1.1,<3.2'"]
    text = render(diagnosis)
    assert "  Flask, for r2d2 serve (the extra serve):" in text
    assert text.endswith("Ready for several workers: yes. Ready to serve: no.")


def test_a_version_out_of_range_is_named_with_the_one_that_works() -> None:
    diagnosis = with_installed("numpy", "2.1.0")
    assert not diagnosis.is_ready_to_train
    assert commands(diagnosis) == ["/env/bin/python -m pip install 'numpy>=1.26,<2.1'"]
    assert "unfit   numpy" in render(diagnosis)


def test_without_horovod_one_worker_still_trains() -> None:
    diagnosis = dataclasses.replace(with_installed("horovod", None), compiler=None, horovodrun=None)
    assert diagnosis.is_ready_to_train and not diagnosis.is_ready_for_workers
    compiler, tools, build = commands(diagnosis)
    assert compiler == "apt-get install -y g++"
    assert "'setuptools<80'" in tools and "'cmake<4'" in tools
    assert "HOROVOD_WITH_GLOO=1 " in build and "HOROVOD_CMAKE=/env/bin/cmake " in build
    assert build.endswith("horovod==0.28.1")


def test_horovod_built_against_another_tensorflow_is_built_again() -> None:
    broken = Framework("Horovod", error="ImportError: undefined symbol")
    diagnosis = dataclasses.replace(HEALTHY, frameworks=(HEALTHY.frameworks[0], broken))
    assert diagnosis.is_ready_to_train and not diagnosis.is_ready_for_workers
    assert "--force-reinstall" in commands(diagnosis)[-1]
    assert "fault   Horovod: ImportError: undefined symbol" in render(diagnosis)


def test_an_installed_horovod_is_not_blamed_for_a_missing_tensorflow() -> None:
    faults = tuple(Framework(name, error="ModuleNotFoundError: tensorflow") for name in ("TensorFlow", "Horovod"))
    diagnosis = dataclasses.replace(with_installed("tensorflow-cpu", None), frameworks=faults)
    assert commands(diagnosis) == ["/env/bin/python -m pip install tensorflow-cpu==2.18.1"]


def test_a_host_that_does_not_find_itself_is_not_ready_for_workers() -> None:
    fault = "this host's own name, my-host, does not resolve"
    diagnosis = dataclasses.replace(HEALTHY, name_fault=fault)
    assert diagnosis.is_ready_to_train and not diagnosis.is_ready_for_workers
    assert commands(diagnosis) == [f'echo "127.0.1.1 {socket.gethostname()}" >> /etc/hosts']
    assert f"  fault   {fault}" in render(diagnosis)
    assert examine(with_frameworks=False).name_fault is None  # tests start workers on this host


def test_without_its_launcher_horovod_is_installed_again() -> None:
    diagnosis = dataclasses.replace(HEALTHY, horovodrun=None)
    assert not diagnosis.is_ready_for_workers
    assert commands(diagnosis)[-1].endswith("horovod==0.28.1")
    assert "missing horovodrun" in render(diagnosis)


def test_horovod_without_a_way_to_reduce_is_not_ready() -> None:
    mute = Framework("Horovod", "0.28.1", ("TensorFlow",))
    diagnosis = dataclasses.replace(HEALTHY, frameworks=(HEALTHY.frameworks[0], mute))
    assert not diagnosis.is_ready_for_workers
    assert "HOROVOD_WITH_GLOO=1" in commands(diagnosis)[-1]


def test_in_a_checkout_make_brings_everything() -> None:
    diagnosis = dataclasses.replace(with_installed("keras", None), checkout="/home/me/my r2d2")
    assert commands(diagnosis) == ["make -C '/home/me/my r2d2' install"]


def test_in_the_checkout_s_own_environment_pip_brings_the_pinned_version() -> None:
    packages = (
        dataclasses.replace(HEALTHY.packages[0], installed=None, pinned="2.0.2"),
        *HEALTHY.packages[1:],
    )
    diagnosis = dataclasses.replace(
        HEALTHY, packages=packages, checkout="/home/me/r2d2", python_path="/home/me/r2d2/.venv/bin/python"
    )
    assert commands(diagnosis) == ["/home/me/r2d2/.venv/bin/python -m pip install numpy==2.0.2"]


def test_a_gpu_that_tensorflow_cannot_use_is_pointed_out() -> None:
    machine = dataclasses.replace(MACHINE, gpus=("NVIDIA H100, 81559 MiB, 550.54",))
    diagnosis = dataclasses.replace(HEALTHY, machine=machine)
    assert diagnosis.is_ready_to_train
    assert "tensorflow[and-cuda]" in commands(diagnosis)[0]
    assert "NVIDIA H100" in render(diagnosis)


def test_a_process_that_dies_after_tensorflow_leaves_tensorflow_s_facts() -> None:
    output = 'noise\nr2d2-doctor:{"name": "TensorFlow", "version": "2.18.1", "built_with": []}\n'
    tensorflow, horovod = read_probe(output, "was ended by SIGSEGV")
    assert (tensorflow.version, tensorflow.error) == ("2.18.1", None)
    assert horovod.error is not None and "SIGSEGV" in horovod.error


def test_the_time_limit_holds() -> None:
    tensorflow, horovod = probe_frameworks(time_limit_s=0.05)
    for framework in (tensorflow, horovod):
        assert framework.error is not None and "no answer within 0.05 s" in framework.error


@pytest.mark.tensorflow
def test_this_installation_trains_on_several_workers() -> None:
    diagnosis = examine()
    assert diagnosis.is_ready_for_workers, render(diagnosis)
    tensorflow, horovod = diagnosis.frameworks
    assert tensorflow.version == "2.18.1" and "CPU:0" in tensorflow.devices
    assert {"TensorFlow", "Gloo"} <= set(horovod.built_with)


def test_looking_loads_no_framework() -> None:
    code = "import sys, r2d2.doctor as d; d.examine(with_frameworks=False); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "r2d2" in loaded
    assert loaded & {"tensorflow", "keras", "horovod", "numpy"} == set()


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed, not even pip."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return folder / "bin" / "python"


def test_the_doctor_works_where_nothing_is_installed(bare_python: Path) -> None:
    done = subprocess.run(
        [bare_python, "-m", "r2d2.doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        env={"PATH": "/nowhere"},
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "missing numpy" in done.stdout
    assert "missing TensorFlow: ModuleNotFoundError" in done.stdout
    assert "apt-get install -y g++" in done.stdout
    assert f"make -C {shlex.quote(str(REPOSITORY))} install" in done.stdout
    assert done.stdout.splitlines()[-1] == "Ready to train: no. Ready for several workers: no. Ready to serve: no."


def test_the_doctor_names_what_pip_brings_where_there_is_no_checkout(bare_python: Path, tmp_path: Path) -> None:
    """Installed by `pip install .` without the extra: the requirements are in the package's metadata."""
    site = Path(sysconfig.get_path("purelib", vars={"base": str(bare_python.parents[1])}))
    for source in ("r2d2/dependencies.py", "r2d2/doctor.py", "r2d2_base/machine.py"):
        (site / source).parent.mkdir(exist_ok=True)
        (site / source).write_text((REPOSITORY / source).read_text(encoding="utf-8"))
    metadata = site / "r2d2-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: r2d2\nVersion: 0.1.0\nProvides-Extra: train\n"
        "Requires-Dist: numpy<2.1,>=1.26\nRequires-Dist: keras==3.15.1; extra == 'train'\n"
    )
    done = subprocess.run(
        [bare_python, "-m", "r2d2.doctor"], capture_output=True, text=True, timeout=60, cwd=tmp_path, env={}
    )
    assert done.stderr == ""
    assert done.stdout.startswith("R2D2 0.1.0, Python 3.11")
    assert "pip install 'numpy<2.1,>=1.26'" in done.stdout
    assert "pip install keras==3.15.1" in done.stdout
    assert "horovod==0.28.1" in done.stdout
