import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import imgmed
from imgmed import errors

FOR_USERS = (
    "read_volume read_header read_label write_volume Volume Scan apply_operations inspect_source read_study"
    " prepare_dataset PreparationSettings PreparedDataset read_fingerprint Splits split_cases SliceSelection"
    " select_slices with_neighbours Normalisation AugmentationSettings draw_sample apply_draw prepare_scan SliceGrid"
    " convert_folder SliceConversion PictureConversion read_preset preset_names remap_labels ImgMedError"
)


def test_every_public_name_is_there_and_listed_once():
    assert len(set(imgmed.__all__)) == len(imgmed.__all__)
    assert set(FOR_USERS.split()) <= set(imgmed.__all__)
    for name in imgmed.__all__:
        assert getattr(imgmed, name).__module__.startswith("imgmed.")
        assert name in dir(imgmed)
    with pytest.raises(AttributeError, match="nothing"):
        _ = imgmed.nothing


def test_the_tour_names_what_is_there():
    """Every name in back quotes of the docstring can be imported; every package is described."""
    named = re.findall(r"`([A-Za-z_.]+)`", imgmed.__doc__)
    assert len(named) > 15
    for name in named:
        if name.startswith("imgmed."):
            importlib.import_module(name)
        else:
            assert name in imgmed.__all__
    packages = {path.parent.name for path in Path(imgmed.__file__).parent.glob("*/__init__.py")}
    assert set(re.findall(r"([a-z]+)/", imgmed.__doc__)) == packages


def test_all_errors_have_one_root_and_a_built_in_parent():
    leaves = [getattr(errors, name) for name in errors.__all__ if name != "ImgMedError"]
    for leaf in leaves:
        assert issubclass(leaf, errors.ImgMedError)
        assert issubclass(leaf, (ValueError, OSError, LookupError))


def test_importing_loads_nothing_heavy():
    """The plain import stays light; using everything still loads no deep-learning framework."""
    code = (
        "import sys, imgmed; light = set(sys.modules)\n"
        "for name in imgmed.__all__: getattr(imgmed, name)\n"
        "print(sorted(light & {'numpy', 'nibabel', 'scipy', 'pydantic'}))\n"
        "print(sorted(set(sys.modules) & {'keras', 'tensorflow', 'horovod', 'torch', 'matplotlib'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split("\n")[:2] == ["[]", "[]"]


def test_settings_are_shown_without_readers_of_scans():
    """Help texts and forms come from the settings model and must come quickly."""
    code = (
        "import sys; from imgmed import PreparationSettings; PreparationSettings()\n"
        "print(sorted(set(sys.modules) & {'nibabel', 'scipy', 'SimpleITK', 'pydicom', 'cv2', 'PIL'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
