"""A dataset prepared with a preset is proposed the preset's network and training."""

from pathlib import Path

import pytest

from dist_training.architectures import C2FNASStyleSettings
from imgmed import write_phantom_study
from imgmed.presets import preset_names, read_preset
from r2d2.config import Configuration, configure, read_layer
from r2d2.preset_proposal import with_preset
from r2d2.proposal import Proposal
from r2d2.tasks.preparation import PrepareSettings, prepare
from r2d2.tasks.resolution import resolve


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset") / "study"
    write_phantom_study(folder, seed=0, cases=3, shape=(32, 32, 8))
    return folder


def test_the_pancreas_is_trained_on_as_its_source_has_it(study: Path, tmp_path: Path) -> None:
    prepare(PrepareSettings(source=study, out=tmp_path / "out", preset="pancreas", workers=1))
    proposed = configure(read_layer(tmp_path / "out/r2d2.yaml"))
    assert proposed.network == C2FNASStyleSettings(base_filters=32)
    training = proposed.training
    assert (training.patch_size, training.foreground_share) == ((96, 96, 96), 0.5)
    assert (training.optimizer, training.loss, training.autoencoder) == ("adam", "dice_cross_entropy", True)
    assert (training.autoencoder_kl_weight, training.autoencoder_l2_weight) == (0.2, 0.3)
    for world_size in (1, 3):  # the same on any number of workers: 8 patches a step, from 1e-4 to 1e-5
        batch = training.step_size(world_size)
        rates = [
            training.scheduled_rate(step, global_batch_size=batch, steps_per_epoch=10)
            for step in (0, 10 * training.epochs)
        ]
        assert (batch, rates) == (8, pytest.approx([1e-4, 1e-5]))
    text = (tmp_path / "out/r2d2.yaml").read_text()
    assert text.count("# why: the preset pancreas\n") == sum(
        len(values) for section, values in read_preset("pancreas").items() if section in ("network", "training")
    )
    assert "poolings leave" not in text  # why the network that is not proposed any more has its depth
    options = {"dataset": str(tmp_path / "out")}
    found = resolve(config=None, options=options, assignments=["training.patch_size=[16,32,32]"]).configuration
    assert (found.network, found.training.patch_size) == (proposed.network, (16, 32, 32))


@pytest.mark.parametrize("name", [name for name in preset_names() if "training" not in read_preset(name)])
def test_a_preset_that_says_nothing_of_training_changes_nothing(name: str) -> None:
    proposal = Proposal(Configuration(), {"network.depth": "why", "training.epochs": "so"})
    assert with_preset(proposal, name) == proposal
