"""Presets under a configuration file."""

import yaml

from r2d2.config import Configuration, commented_yaml, configure
from r2d2.tasks.preparation import preset_layer


def test_a_file_of_defaults_as_init_writes_it_leaves_a_preset_alone() -> None:
    written = yaml.safe_load(commented_yaml(Configuration(), ""))
    layer = {key: written[key] for key in ("preparation", "augmentation")}
    found = configure(preset_layer("left_atrium", layer))
    assert found == configure(preset_layer("left_atrium", {}))
    assert found.augmentation.zoom == (0.8, 1.2)


def test_single_settings_of_a_file_change_a_preset() -> None:
    layer = {"preparation": {"slices": {"within_labels": True}}, "augmentation": {"rotation_degrees": 5}}
    assert configure(preset_layer("brats_t1_70", layer)).preparation.slices.model_dump() == {
        "count": 70,
        "within_labels": True,
        "keep_empty": 1.0,
    }
    augmentation = configure(preset_layer("left_atrium", layer)).augmentation
    assert (augmentation.rotation_degrees, augmentation.zoom) == (5.0, (0.8, 1.2))


def test_a_file_replaces_what_a_preset_names() -> None:
    layer = {"preparation": {"regions": {"organ": [1]}}}
    assert configure(preset_layer("livermask", layer)).preparation.regions == {"organ": (1,)}
