"""R2D2 is described in pyproject.toml; here is what that cannot hold, and what serves tools that ask for a setup.py."""

from setuptools import Extension, find_packages, setup

# A plain library that segeval/counting.py loads through ctypes: no Python.h, one file name for all Pythons ("abi3").
# No -march=native: the hosts of a cluster differ. The Makefile has the same options.
COUNTING = Extension(
    "segeval._counting",
    sources=["segeval/_counting.c"],
    extra_compile_args=["-std=c99", "-O3", "-Wall", "-Wextra"],
    py_limited_api=True,
)

# `web` is installed as `r2d2_web`: PyPI's web.py installs a `web` of its own. Its modules import each other relatively.
PACKAGES = [
    *find_packages(include=["r2d2_base*", "r2d2*", "imgmed*", "segeval*", "dist_training*"]),
    *(f"r2d2_{name}" for name in find_packages(include=["web", "web.*"])),
]

setup(ext_modules=[COUNTING], packages=PACKAGES, package_dir={"r2d2_web": "web"})
