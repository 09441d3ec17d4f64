"""One model behind file, options and key=value; every fault listed with what is valid."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dist_training.architectures import CustomSettings, FCNSettings
from imgmed import AugmentationSettings
from r2d2.cli import app
from r2d2.config import Configuration, commented_yaml, configure, laid_over, read_layer
from r2d2_base.errors import ConfigurationError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    configuration = configure(
        {},
        assignments=["network.architecture=fcn", "network.width=0.25", "training.epochs=7", "training.dtype=float64"],
    )
    path = tmp_path / "r2d2.yaml"
    path.write_text(commented_yaml(configuration, "A title"))
    assert configure(read_layer(path)) == configuration
    assert isinstance(configuration.network, FCNSettings)


def test_every_key_is_written_behind_a_comment() -> None:
    lines = commented_yaml(Configuration(), "A title").splitlines()
    keys = [i for i, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    uncommented = [lines[i].strip() for i in keys if not lines[i - 1].lstrip().startswith("#")]
    assert uncommented in ([], ["architecture: unet"])
    assert "  optimizer: adam" in lines


def test_folders_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "r2d2.yaml").write_text("dataset: data\nrun_dir: /elsewhere\n")
    configuration = configure(read_layer(tmp_path / "r2d2.yaml"))
    assert configuration.dataset == tmp_path / "data"
    assert configuration.run_dir == Path("/elsewhere")


def test_assignments_come_before_options_before_the_file() -> None:
    layer = {"training": {"epochs": 1, "seed": 1, "momentum": 0.5}}
    options = {"training.epochs": 2, "training.seed": 2, "run_dir": None}
    training = configure(layer, options=options, assignments=["training.epochs=3"]).training
    assert (training.epochs, training.seed, training.momentum) == (3, 2, 0.5)
    assert layer == {"training": {"epochs": 1, "seed": 1, "momentum": 0.5}}


def test_another_architecture_leaves_the_settings_of_the_first_behind() -> None:
    layer = {"network": {"architecture": "unet", "depth": 3, "base_filters": 8}}
    network = configure(layer, assignments=["network.architecture=fcn", "network.width=0.5"]).network
    assert network == FCNSettings(width=0.5)


def test_proposed_strides_and_kernels_follow_the_number_of_levels() -> None:
    proposed = {
        "network": {
            "dimensions": 3,
            "depth": 2,
            "strides": [[1, 2, 2], [2, 2, 2]],
            "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        }
    }
    fewer = configure(proposed, assignments=["network.depth=1"]).network
    assert (fewer.strides, fewer.kernels) == (((1, 2, 2),), ((1, 3, 3), (3, 3, 3)))
    more = configure(laid_over(proposed, {"network": {"depth": 3}})).network
    assert more.strides == ((1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert more.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    typed = ["network.strides=[[2,2,2]]", "network.kernels=[[3,3,3],[5,5,5]]", "network.depth=1"]
    assert configure(proposed, assignments=typed).network.strides == ((2, 2, 2),)
    with pytest.raises(ConfigurationError, match="strides needs 1 lists of 3 numbers"):
        configure(laid_over(proposed, {"network": {"depth": 1, "strides": [[2, 2, 2], [2, 2, 2]]}}))
    other = configure(proposed, assignments=["network.blocks=[1,2]", "network.architecture=residual_unet"]).network
    assert other.blocks == (1, 2) and other.strides is None


def test_all_faults_are_listed_together_with_what_is_valid() -> None:
    layer = {
        "trainig": {},
        "training": {"epoch": 5, "optimizer": "adamm", "batch_size_per_worker": 0},
        "network": {"architecture": "unet", "dept": 3},
        "preparation": {"test_fraction": 2, "label_codes": {"a": "SCT:1", "b": ["SCT", 1, "B"], "c": "SCT:1:C"}},
    }
    with pytest.raises(ConfigurationError) as caught:
        configure(layer, assignments=["nonsense"], origin="r2d2.yaml")
    message = str(caught.value)
    assert message.startswith("9 faults in the configuration (r2d2.yaml)")
    for part in (
        "'nonsense' is not key=value",
        "trainig: unknown key; did you mean training?",
        "training.epoch: unknown key; did you mean epochs? valid: accumulation_steps, autoencoder,",
        "training.optimizer: must be 'adam', 'adamw', 'sgd', 'lamb' or 'lars'; received 'adamm'",
        "training.batch_size_per_worker: must be at least 1; received 0",
        "network.dept: unknown key; did you mean depth? valid: architecture, base_filters, depth",
        "preparation.test_fraction: must be less than 1; received 2",
        "preparation.label_codes.a: a code is SCHEME:VALUE:MEANING, such as SCT:10200004:Liver, and may have",
        "; received 'SCT:1'",
        "preparation.label_codes.b: must be text; received ['SCT', 1, 'B']",
    ):
        assert part in message
    assert "\n" not in message


def test_an_unknown_architecture_names_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"network.architecture: must be one of 'unet', 'fcn', .*'custom', 'imported'; received 'vnet'",
    ):
        configure({}, assignments=["network.architecture=vnet"])


def test_a_function_of_the_users_own_stands_for_a_custom_network() -> None:
    own = CustomSettings(build="my_module:build_network", options={"filters": 8})
    words = ["network.options.filters=8", "network.architecture=my_module:build_network"]
    assert configure({}, assignments=words).network == own
    short = {"network": {"architecture": "my_module:build_network", "options": {"filters": 8}}}
    assert configure(short).network == own
    assert configure(yaml.safe_load(commented_yaml(configure(short), "whole"))).network == own
    assert configure(short, assignments=["network.options.filters=9"]).network.options == {"filters": 9}
    assert configure({"network": {"architecture": "fcn", "width": 0.5}}, assignments=words).network == own


def test_a_custom_network_says_how_it_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"network.build: build must be module:function, like my_module:build"):
        configure({}, assignments=["network.architecture=folder/file.py:build"])
    with pytest.raises(ConfigurationError, match=r"network\.build: must be given"):
        configure({}, assignments=["network.architecture=custom"])
    with pytest.raises(
        ConfigurationError, match=r"network.filters: unknown key; valid: architecture, build, dimensions, options"
    ):
        configure({}, assignments=["network.architecture=my_module:build_network", "network.filters=8"])


def test_a_tversky_loss_of_nothing_is_refused_before_a_run_starts() -> None:
    words = ["training.loss=tversky", "training.tversky_alpha=0", "training.tversky_beta=0"]
    with pytest.raises(ConfigurationError, match=r"must not both be 0: .*; use 0\.3 and 0\.7"):
        configure({}, assignments=words)
    assert configure({}, assignments=words[1:]).training.tversky_beta == 0  # another loss does not look


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.nesterov=true"], "optimizer adam has none; use optimizer sgd, or nesterov false"),
        (["training.nesterov=true", "training.optimizer=lars"], "optimizer lars has none"),
        (["transfer.unfreeze_after_epochs=2"], r"use frozen_stages \[encoder\], or unfreeze_after_epochs null"),
    ],
)
def test_what_would_do_nothing_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configure({}, assignments=words)


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"warmup_epochs must not exceed epochs \(3\); received 4; use 0.3"):
        configure({}, assignments=["training.epochs=3", "training.warmup_epochs=4"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1", "is not YAML"), ("- a\n- b\n", "must hold keys"), ("just words", "must hold keys")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r2d2.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_layer(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_names_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'r2d2 init' writes one"):
        read_layer(tmp_path / "none.yaml")


def test_the_name_of_a_preset_stands_for_its_settings() -> None:
    table1 = AugmentationSettings(rotation_degrees=45, zoom=(0.8, 1.2), translation_px=25.6)
    assert configure({}).augmentation == AugmentationSettings()
    assert configure({"augmentation": "table1"}).augmentation == table1
    changed = configure({"augmentation": "table1"}, assignments=["augmentation.rotation_degrees=10"]).augmentation
    assert changed == table1.model_copy(update={"rotation_degrees": 10.0})
    file = {"augmentation": {"noise_std": 0.5}}
    words = ["augmentation.noise_std=0.1", "augmentation=table1"]
    assert configure(file, assignments=words).augmentation == table1.model_copy(update={"noise_std": 0.1})


def test_faults_of_the_augmentation_are_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"augmentation: the presets are none, table1, nnunet; received 'table'"
    ):
        configure({"augmentation": "table"})
    with pytest.raises(ConfigurationError, match=r"augmentation.rotation: unknown key; did you mean rotation_degrees"):
        configure({}, assignments=["augmentation.rotation=5"])
    with pytest.raises(ConfigurationError, match=r"augmentation.zoom: must be two positive numbers"):
        configure({}, assignments=["augmentation.zoom=[1.2, 0.8]"])


def test_augmentation_survives_the_runs_own_file(tmp_path: Path) -> None:
    configuration = configure({"augmentation": "table1"}, assignments=["augmentation.crop_size=[32, 48]"])
    path = tmp_path / "config.yaml"
    path.write_text(commented_yaml(configuration, "title"))
    assert configure(read_layer(path)) == configuration


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("preparation.operations=[{op: clap}]", "preparation.operations.0.op: must be one of 'reorient'.*'clap'"),
        ("preparation.operations=[{clip: 1}]", "preparation.operations.0.op: must be one of 'reorient'.*it is missing"),
        ("preparation.operations=[{op: clip, bound: 1}]", "operations.0.bound: unknown key; did you mean bounds"),
        ("preparation.slices={cuont: 5}", "slices.cuont: unknown key; did you mean count"),
        ("preparation.channels=[]", "at least one and none twice"),
        ("preparation.channels=[0, 0]", "at least one and none twice"),
        ("preparation.channels=[-1]", "numbers from 0"),
    ],
)
def test_faults_within_lists_name_the_keys_that_are_valid_there(word: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configure({}, assignments=[word])


def test_init_begins_with_the_settings_that_are_typed(tmp_path: Path) -> None:
    out = tmp_path / "r2d2.yaml"
    words = ["init", "--out", str(out), "network.architecture=fcn", "training.epochs=3"]
    assert CliRunner().invoke(app, words).exit_code == 0
    written = configure(read_layer(out))
    assert (written.network.architecture, written.training.epochs) == ("fcn", 3)
    assert "width" in out.read_text()
