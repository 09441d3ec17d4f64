"""R2D2 is described in pyproject.toml; here is what that cannot hold, and what serves tools that ask for a setup.py."""

from setuptools import Extension, setup

# A plain library that segeval/counting.py loads through ctypes: no Python.h, one file name for all Pythons ("abi3").
# No -march=native: the hosts of a cluster differ. The Makefile has the same options.
COUNTING = Extension(
    "segeval._counting",
    sources=["segeval/_counting.c"],
    extra_compile_args=["-std=c99", "-O3", "-Wall", "-Wextra"],
    py_limited_api=True,
)

setup(ext_modules=[COUNTING])
