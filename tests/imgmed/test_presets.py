import pytest
from pydantic import TypeAdapter

from imgmed.errors import ImgMedError, UnknownPresetError
from imgmed.operations import Clip, Operation, Resample, Rescale
from imgmed.presets import describe_preset, preset_names, read_preset
from imgmed.selection import SliceSelection

SETTINGS = {
    "kind", "operations", "channels", "regions", "slices", "normalisation", "validation_fraction", "test_fraction",
    "slice_axis",
}  # fmt: skip
operations = TypeAdapter(tuple[Operation, ...]).validate_python


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_names_its_source(name):
    preset = read_preset(name)
    assert set(preset) <= {"preparation", "augmentation", "network", "training"}
    assert set(preset["preparation"]) <= SETTINGS
    operations(preset["preparation"].get("operations", ()))
    SliceSelection.model_validate(preset["preparation"].get("slices", {}))
    assert "(" in describe_preset(name)


def test_numbers_of_the_published_use_cases():
    assert preset_names() == ("brats_t1_70", "left_atrium", "kits23", "livermask", "pancreas")
    assert read_preset("brats_t1_70")["preparation"]["slices"] == {"count": 70}
    assert read_preset("pancreas")["preparation"]["kind"] == "volumes"
    assert operations(read_preset("pancreas")["preparation"]["operations"]) == (
        Resample(spacing_mm=(1, 1, 1)),
        Clip(bounds=((-200, 250),)),
        Rescale(low=-1, high=1),
    )
    kidneys = read_preset("kits23")["preparation"]
    assert operations(kidneys["operations"]) == (Clip(bounds=((0, 200),)),)
    assert (kidneys["validation_fraction"], kidneys["test_fraction"]) == (0.1, 0.1)
    assert read_preset("left_atrium")["augmentation"] == "table1"


def test_a_preset_is_ones_own():
    read_preset("kits23")["preparation"]["operations"].clear()
    assert read_preset("kits23")["preparation"]["operations"]


def test_unknown_presets_are_refused_with_the_known_ones():
    with pytest.raises(UnknownPresetError, match=r"brats_t1_70, left_atrium, .* received 'kits'; did you mean kits23"):
        read_preset("kits")
    assert issubclass(UnknownPresetError, ImgMedError) and issubclass(UnknownPresetError, ValueError)
