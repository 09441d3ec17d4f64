"""r2d2 zoo: a model's way from a run to another person's prediction and training; what a terminal shows."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import yaml

from dist_training.inference.model_card import ModelCard
from dist_training.record.events import WeightsTaken, read_events
from r2d2.cli import app, main
from r2d2.zoo.registries.registry import local_zoo
from tests.web_server import served
from tests.zoo_models import add_model, begin_empty

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
ZOO = typer.main.get_command(app).commands["zoo"].commands  # type: ignore[attr-defined]


@pytest.fixture
def r2d2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in a terminal of 80 columns with a local zoo of its own; give exit code, output and messages."""
    begin_empty(tmp_path, monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["r2d2", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", sorted(ZOO))
def test_each_command_has_an_example_that_works_and_a_help_of_80_columns(r2d2: Run, command: str) -> None:
    example = re.search("Example: (.*)", f"{ZOO[command].help}\n{ZOO[command].epilog}")
    assert example is not None
    words = shlex.split(example[1])
    assert words[:3] == ["r2d2", "zoo", command]
    ZOO[command].make_context(command, words[3:]).close()  # raises where an option is unknown
    code, said, _ = r2d2("zoo", command, "--help")
    assert code == 0 and "Example: r2d2 zoo" in said
    assert max(map(len, said.splitlines())) <= 80


def test_lists_fit_into_80_columns(r2d2: Run, tmp_path: Path) -> None:
    assert r2d2("zoo", "list") == (0, "", "there is no model here yet\n")
    registry = tmp_path / "registry"
    add_model(registry, "hippocampus-unet", b"1", title="Anterior and posterior hippocampus in T1-weighted MRI")
    add_model(registry, "hippocampus-unet", b"2")
    add_model(registry, "a-very-long-name-that-somebody-has-given-to-a-model-of-theirs", bytes(200_000))
    add_model(tmp_path / "zoo", "nuclei", b"3", title="[b]Nuclei[/b]")
    assert r2d2("zoo", "add", "hospital", registry)[0] == 0
    code, said, told = r2d2("zoo", "list")
    assert code == 0 and told == f"registry hospital: {registry}, not pinned\n"
    assert max(map(len, said.splitlines())) <= 80
    assert re.search(r"^nuclei:1 .* kB  local  CC-BY-SA-4\.0 *\n    \[b\]Nuclei\[/b\]: ", said, re.MULTILINE)
    assert "0.2 MB" in said and "hospital" in said
    _, said, _ = r2d2("zoo", "search", "T1-WEIGHTED", "posterior")
    assert re.findall(r"^[a-z-]+:\d", said, re.MULTILINE) == ["hippocampus-unet:1"]
    assert r2d2("zoo", "search", "kidney")[1:] == ("", "no model of the zoo has all these words\n")
    code, said, told = r2d2("zoo", "show", "nuclei")
    assert (code, said, told) == (0, "# [b]Nuclei[/b]\n\n", "nuclei:1 (local)\n")


def test_what_is_wrong_is_one_line(r2d2: Run, tmp_path: Path) -> None:
    folder = add_model(tmp_path / "zoo", "nuclei", b"3")
    (folder / "LICENSE").write_text("MIT")
    code, said, told = r2d2("zoo", "verify")
    assert (code, told) == (2, "r2d2: 1 model of 1 not as published\n")
    assert said == f"nuclei:1: LICENSE was changed ({folder})\n"
    for words, reason in (
        (("pull", "nuclei"), "nuclei can be fetched from nowhere: add a remote registry first, r2d2 zoo add NAME LOC"),
        (("show", "nucleus"), "there is no model nucleus in the zoo; did you mean nuclei?"),
        (("verify", "nucleus"), "there is no nucleus in the local zoo or what R2D2 ships"),
        (("remove",), "name either a model, NAME:VERSION, or with --registry a remote registry"),
        (
            ("add", "x", "http://zoo.example.org"),
            "http://zoo.example.org: anyone on the way can change",
        ),
        (("index", "nowhere"), "no such folder: nowhere"),
    ):
        code, said, told = r2d2("zoo", *words)
        assert (code, said) == (2, "") and told.startswith(f"r2d2: {reason}") and told.count("\n") == 1, told
    assert r2d2("zoo", "remove", "nuclei:1")[0] == 0
    assert local_zoo().names() == []


@pytest.fixture
def eager() -> Iterator[None]:
    """Runs of one process take the same course without graphs, and begin sooner."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def write_datasets(folder: Path) -> None:
    """Two prepared datasets of the same scans whose labels are called differently, and a run on the first."""
    from dist_training.architectures import UNetSettings, build_network
    from dist_training.inference.model_card import save_model
    from dist_training.record.run_folder import RunFolder
    from imgmed import PreparationSettings, prepare_dataset, write_phantom_study

    study = write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    dataset = prepare_dataset(study, folder / "dataset", PreparationSettings())
    said = json.loads((study / "dataset.json").read_text())
    said["labels"] = {
        value: f"{name} of another study" if int(value) else name for value, name in said["labels"].items()
    }
    (study / "dataset.json").write_text(json.dumps(said))
    prepare_dataset(study, folder / "other", PreparationSettings())
    network, run = UNetSettings(depth=1, base_filters=2), RunFolder(folder / "run")
    model = build_network(network, dataset.scan_preparation.input_channels, len(dataset.class_values), seed=1)
    run.create()
    scores = {"validation_dice": None, "validation_dice_per_label": {}}
    save_model(model, run, network=network, dataset=dataset, epoch=1, **scores)


@pytest.mark.tensorflow
def test_from_a_run_to_predictions_and_another_training(r2d2: Run, tmp_path: Path, eager: None) -> None:
    write_datasets(tmp_path)
    assert r2d2("zoo", "describe", "run", "--out", "card.yaml")[0] == 0
    assert r2d2("zoo", "describe", "run")[1] == Path("card.yaml").read_text()
    line = "r2d2: card.yaml exists already\n"
    assert r2d2("zoo", "describe", "run", "--out", "card.yaml") == (2, "", line), "what was filled in stays"
    told = r2d2("zoo", "publish", "run", "--name", "phantom", "--description", "card.yaml")[2]
    assert "title, intended_use" in told and "must be filled in" in told
    words = dict.fromkeys(("title", "intended_use", "not_for", "known_failures", "author", "attribution"), "for tests")
    data = {"name": "Phantoms", "licence": "CC0-1.0", "source": "made by R2D2"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**words, "licence": "CC0-1.0", "data": data}))
    publish = ("zoo", "publish", "run", "--name", "phantom", "--description", "card.yaml", "--to", "registry")
    Path("registry").mkdir()
    Path("registry/index.json.sig").write_text("of an earlier index")
    code, _, told = r2d2(*publish)
    assert code == 0 and "published phantom:1: registry/phantom/1" in told, told
    assert "note: registry/index.json.sig is of the index as it was: sign index.json again" in told
    code, _, told = r2d2(*publish)
    assert (code, told) == (2, "r2d2: phantom:1 in registry holds these very weights already; nothing was added\n")
    with served(tmp_path / "registry") as server:
        assert r2d2("zoo", "add", "hospital", server.address)[0] == 0
        scan = min((tmp_path / "study/imagesTr").iterdir())
        predict = ("predict", "--input", scan, "--out")
        line = "r2d2: zoo:phantom is not on this machine, but in hospital; fetch it: r2d2 zoo pull phantom\n"
        assert r2d2(*predict, "none", "--model", "zoo:phantom") == (2, "", line)
        code, _, told = r2d2("zoo", "pull", "phantom")
        assert code == 0 and "r2d2 predict --model zoo:phantom:1 " in told, told
    for model, out in (("zoo:phantom", "of-the-zoo"), ("run", "of-the-run")):
        assert r2d2(*predict, out, "--model", model)[0] == 0
    manifests = [json.loads(Path(out, "prediction.json").read_text()) for out in ("of-the-zoo", "of-the-run")]
    assert manifests[0]["zoo_name"] == "phantom:1" and "zoo_name" not in manifests[1]
    assert manifests[0]["model"] == str(tmp_path / "zoo/phantom/1/model.keras")
    (file,) = (case["file"] for case in manifests[0]["cases"])
    assert Path("of-the-zoo", file).read_bytes() == Path("of-the-run", file).read_bytes()

    settings = ("training.epochs=1", "training.warmup_epochs=0")
    run = ("train", "--dataset", "other", "--run-dir", "started", "--workers", "1")
    code, _, told = r2d2(*run, "transfer.start_from=zoo:phantom", *settings)
    assert code == 0, told
    transfer = yaml.safe_load(Path("started/config.yaml").read_text())["transfer"]
    assert transfer["start_from"] == str(tmp_path / "zoo/phantom/1") and transfer["start_name"] == "phantom:1"
    (taken,) = (event for event in read_events(Path("started/events.jsonl")) if isinstance(event, WeightsTaken))
    assert taken.copied > 0 and {path.partition("/")[0] for path in taken.fresh} == {"logits"}
    start = ModelCard.model_validate_json(Path("started/start.json").read_text())
    assert start.model_sha256 == manifests[0]["model_sha256"]
    assert r2d2("zoo", "remove", "phantom:1")[0] == 0
    code, _, told = r2d2(*run, "--resume", "training.epochs=2")
    assert code == 0, told
    assert yaml.safe_load(Path("started/config.yaml").read_text())["transfer"] == transfer
