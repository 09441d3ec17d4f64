"""Dependencies: comparing versions, reading pins and declarations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from r2d2.dependencies import Package, examine_packages, installed_version, satisfies

REPOSITORY = Path(__file__).resolve().parents[2]

releases = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
comparisons = st.tuples(st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]), releases).map("".join)


@given(version=releases, parts=st.lists(comparisons, max_size=3))
def test_satisfies_agrees_with_packaging(version: str, parts: list[str]) -> None:
    specifier = ",".join(parts)
    assert satisfies(version, specifier) == SpecifierSet(specifier).contains(Version(version))


def test_a_comparison_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"received '~=1\.2'"):
        satisfies("1.2", "~=1.2")


def test_every_dependency_of_ours_is_examined() -> None:
    packages = {package.name: package for package in examine_packages(REPOSITORY)}
    assert {"numpy", "nibabel", "pydantic"} <= {name for name, item in packages.items() if item.group == "runtime"}
    assert {name for name, item in packages.items() if item.group == "train"} == {
        "h5py",
        "keras",
        "tensorboard",
        "tensorflow-cpu",
    }
    assert [name for name, item in packages.items() if item.group == "workers"] == ["horovod"]


def test_every_dependency_is_pinned_to_a_version_that_is_asked_for() -> None:
    for package in examine_packages(REPOSITORY):
        assert package.pinned is not None, f"{package.name} has no pin in requirements/"
        assert satisfies(package.pinned, package.required), package


def test_the_checkout_may_ask_for_more_than_its_pins_give(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=900", "no.Such_thing>=1"]\n'
        "[project.optional-dependencies]\ntrain = [\"pytest[extra] >=1; python_version >= '3'\"]\n"
    )
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "all.txt").write_text("# a comment with == in it\nno-such-thing==1.5\n")
    numpy, absent, pytest_itself, horovod = examine_packages(tmp_path)
    assert (numpy.required, numpy.is_satisfied) == (">=900", False)
    assert absent == Package("no.Such_thing", "runtime", ">=1", "1.5", None)
    assert (pytest_itself.group, pytest_itself.required, pytest_itself.is_satisfied) == ("train", ">=1", True)
    assert horovod.group == "workers"


def test_installed_version_is_read_without_importing() -> None:
    assert installed_version("pytest") == pytest.__version__
