"""Publishing: what is in the folder, what is nowhere in it, and every reason why there is no folder."""

import csv
import hashlib
import html
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dist_training.architectures import read_network
from dist_training.inference.model_card import keep_start_card, read_model_card, read_seen_before
from dist_training.record.events import EventLog, WeightsTaken
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.errors import NamesFoundError, ZooError
from r2d2.prediction.member import Member
from r2d2.zoo.card.description import ModelDescription, read_description
from r2d2.zoo.card.pictures import pictures_of_page
from r2d2.zoo.publishing.publish import PublishSettings, publish_model
from r2d2.zoo.registries.published import declared_file
from r2d2_base.errors import OutputExistsError
from tests.r2d2.zoo.publishing.trained_run import PEOPLE, evaluate_split, prepare_study, write_run, write_words

pytestmark = pytest.mark.tensorflow

FILES = ("LICENSE", "card.html", "card.json", "card.md", "model.json", "model.keras")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("publish")


@pytest.fixture(scope="module")
def dataset(place: Path) -> PreparedDataset:
    return prepare_study(place)


@pytest.fixture(scope="module")
def run(dataset: PreparedDataset, place: Path) -> Path:
    return write_run(dataset, place / "run").path


@pytest.fixture(scope="module")
def evaluation(run: Path, dataset: PreparedDataset, place: Path) -> Path:
    return evaluate_split(run, dataset, "test", place / "test")


@pytest.fixture(scope="module")
def published(run: Path, evaluation: Path, place: Path) -> Path:
    wishes = PublishSettings(description=write_words(place), evaluation=evaluation, name="noise:1")
    return publish_model(run, place / "published", wishes).folder


def refusal(run: Path, out: Path, **wishes: object) -> ZooError:
    with pytest.raises(ZooError) as caught:
        publish_model(run, out, PublishSettings(**wishes))
    assert not out.exists() and list(out.parent.glob(".*")) == []
    return caught.value


def test_the_folder_is_whole_and_says_what_is_in_it(published: Path) -> None:
    listed = json.loads((published / "files.json").read_text())
    assert sorted(path.name for path in published.iterdir()) == sorted((*FILES, "files.json"))
    assert listed["schema_version"] == 1 and sorted(listed["files"]) == sorted(FILES)
    for name, facts in listed["files"].items():
        content = (published / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert (published / "LICENSE").read_text().startswith("SPDX-License-Identifier: MIT AND CC-BY-SA-4.0\n")


def test_nobody_is_named_in_it(published: Path, dataset: PreparedDataset, place: Path) -> None:
    """Not in any byte of any file, or member of one, however a name is spelt; nor are hashes, paths, dates of files."""
    contents = {path.name: path.read_bytes() for path in published.iterdir()}
    with zipfile.ZipFile(published / "model.keras") as archive:
        contents |= {name: archive.read(name) for name in archive.namelist()}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    hashes = [digest for case in dataset.cases.values() for digest in case.image_sha256]
    names = re.compile(
        "|".join(rf"\\b{word}\\b" for name in PEOPLE for word in (name, *name.split("_"))), re.IGNORECASE
    )
    for name, content in contents.items():
        text = content.decode("utf-8", "replace")
        assert not [secret for secret in (*hashes, str(place), place.name) if secret in text], name
        assert not names.search(text), name


def test_the_card_tells_used_scans_by_salted_hashes(published: Path, run: Path, dataset: PreparedDataset) -> None:
    _, card = read_model_card(published)
    _, own = read_model_card(run)
    assert sorted(case.case_id for case in card.cases) == [f"case {n}" for n in range(1, 7)]
    (salt,) = {case.hash_salt for case in card.cases}
    assert len(salt) == 32 and card.dataset == "Noise"
    for case in own.cases:
        assert card.split_of(case.image_sha256) == case.split
    assert own.model_copy(update={"cases": (), "dataset": "", "model_sha256": ""}) == card.model_copy(
        update={"cases": (), "dataset": "", "model_sha256": ""}
    )


def test_the_published_network_computes_what_the_run_s_does(published: Path, run: Path) -> None:
    for mine, theirs in zip(
        read_network(run / "model.keras").get_weights(),
        read_network(published / "model.keras").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_the_description_says_what_the_files_say(published: Path, evaluation: Path, dataset: PreparedDataset) -> None:
    description = read_description(published)
    with (evaluation / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for label, value in (("label_1", 1), ("label_2", 2)):
        mine = [row for row in rows if row["label"] == str(value)]
        assert description.scores is not None
        for metric in ("dice", "hd95_mm"):
            mean = description.scores.metrics[metric][label]
            assert mean.value == pytest.approx(np.mean([float(row[metric]) for row in mine]))
            assert mean.n == len(mine) == 2 and mean.low is not None and mean.low <= mean.value <= mean.high
        volumes = [float(row["reference_ml"]) for row in mine]
        found = description.scores.volumes_ml[label]
        assert (found.low, found.median, found.high) == pytest.approx(np.percentile(volumes, (5, 50, 95)))
    assert description.scores.split == "test" and description.scores.cases == 2
    assert [case.rank for case in description.scores.worst] == ["Worst", "Second worst"]
    lowest = min(float(row["dice"]) for row in rows)
    assert lowest in {each["dice"] for each in description.scores.worst[0].scores.values()}
    assert description.data.cases == {
        split: len(getattr(dataset.splits, split)) for split in ("train", "validation", "test")
    }
    assert description.data.patients == description.data.cases
    training = description.training
    assert training is not None and (training.minutes, training.workers, training.epochs) == (2.0, 3, 2)
    assert description.weights_sha256 == hashlib.sha256((published / "model.keras").read_bytes()).hexdigest()
    assert description.parent is None and description.name == "noise:1"


def test_page_and_text_say_the_same_without_help_from_elsewhere(published: Path) -> None:
    page, text = ((published / name).read_text(encoding="utf-8") for name in ("card.html", "card.md"))
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert [html.unescape(heading) for heading in headings if heading != "Read this first"] == re.findall(
        r"(?m)^## (.*)$", text
    )
    figures = re.findall(r"\d\.\d{3}", page)
    assert figures and sorted(figures) == sorted(re.findall(r"\d\.\d{3}", text))
    assert "<b>ever" not in page and "&lt;b&gt;ever&lt;/b&gt;" in page and r"\<b\>ever" in text
    assert not re.search(r"""(src|href)=["'](?!data:)|<script|@import|url\(""", page)
    assert "<img" not in page and "2 patients only" in page and "2 patients only" in text
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_the_same_network_gives_the_same_file(published: Path, run: Path, tmp_path: Path) -> None:
    """So that an evaluation of the published network, too, may stand on its card; the salt is another each time."""
    again = publish_model(run, tmp_path / "again", PublishSettings(description=write_words(tmp_path)))
    assert again.card.model_sha256 == read_model_card(published)[1].model_sha256
    assert again.card.cases[0].hash_salt != read_model_card(published)[1].cases[0].hash_salt
    assert again.notices == ("no evaluation was named: its card says that it was not evaluated",)
    assert "was not evaluated" in (tmp_path / "again/card.md").read_text()


def test_half_precision(run: Path, dataset: PreparedDataset, published: Path, tmp_path: Path) -> None:
    """Half the room; the same label wherever the two likeliest differ by more than rounding moves them."""
    half = publish_model(run, tmp_path / "half", PublishSettings(description=write_words(tmp_path), half=True)).folder
    assert (half / "model.keras").stat().st_size <= 0.55 * (published / "model.keras").stat().st_size
    assert json.loads((half / "model.json").read_text())["weights_precision"] == "float16"
    assert json.loads((published / "model.json").read_text())["weights_precision"] == "float32"
    members = [Member(folder) for folder in (published, half)]
    assert {weight.dtype for weight in members[1]._network.weights} == {"float32"}
    slices = np.concatenate([np.asarray(dataset.image(case_id)) for case_id in dataset.cases])
    inputs = np.pad((slices - slices.mean()) / slices.std(), ((0, 0), (0, 2), (0, 0), (0, 0))).astype(np.float32)
    whole, rounded = (member.probabilities(inputs) for member in members)
    assert 0 < np.abs(whole - rounded).max() < 5e-3
    second, first = np.moveaxis(np.sort(whole, axis=-1)[..., -2:], -1, 0)
    differ = whole.argmax(axis=-1) != rounded.argmax(axis=-1)
    assert not differ[first - second > 1e-2].any() and differ.mean() < 0.01


def test_pictures_of_patients_only_where_they_are_wished(run: Path, evaluation: Path, tmp_path: Path) -> None:
    wishes = PublishSettings(description=write_words(tmp_path), evaluation=evaluation, with_pictures=True)
    folder = publish_model(run, tmp_path / "out", wishes).folder
    page = (folder / "card.html").read_text(encoding="utf-8")
    pictures = pictures_of_page(page)
    assert len(pictures) == 2 and declared_file(folder, "card.html", 10**7) == page.encode()
    assert all(one.caption in page and "contours of the expert" in one.alt for one in pictures)
    assert [Image.open(io.BytesIO(one.png)).format for one in pictures] == ["PNG", "PNG"]
    assert page.count('<img src="data:image/png;base64,') == 2 and "Worst case: label_1 Dice" in page
    assert not [name for name in PEOPLE if name in page]


NAMES = {
    "as it is": "It fails on Roe_Richard.",
    "in words": "It fails on Richard Roe, as on others.",
    "a surname": "It fails on Mr Poe's scan.",
    "with its umlaut": "It fails on Anna Müller.",
    "without": "It fails on MUELLER.",
    "between two lines": "It fails on Guy\nFawkes.",
}


@pytest.mark.parametrize("text", NAMES.values(), ids=list(NAMES))
def test_a_name_in_a_text_is_told_to_the_terminal_alone(run: Path, tmp_path: Path, text: str) -> None:
    error = refusal(run, tmp_path / "out", description=write_words(tmp_path, known_failures=text))
    assert isinstance(error, NamesFoundError) and error.exit_code == 2
    for place in ("card.json has a", "known_failures", "card.md has a", "card.html has a", "at line "):
        assert place in str(error)
    parts = [part for name in PEOPLE for part in name.casefold().split("_")]
    assert not [part for part in parts if re.search(rf"\b{part}\b", str(error).casefold())]
    assert [part for part in parts if re.search(rf"\b{part}\b", error.for_terminal.casefold().replace("_", " "))]


def test_names_of_folders_are_found_and_words_may_be_allowed(run: Path, place: Path, tmp_path: Path) -> None:
    words = {"remarks": f"Its data lay in {place.name}."}
    error = refusal(run, tmp_path / "out", description=write_words(tmp_path, **words))
    assert "a folder of the source at remarks" in str(error) and place.name not in str(error)
    allowing = write_words(tmp_path, **words, allowed_words=[place.name])
    assert publish_model(run, tmp_path / "out", PublishSettings(description=allowing)).folder.is_dir()


def changed(run: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a run, with another card."""
    shutil.copytree(run, copy)
    card = json.loads((copy / "model.json").read_text())
    change(card)
    (copy / "model.json").write_text(json.dumps(card))
    return copy


def used_for(split: str) -> Callable[[dict[str, Any]], object]:
    return lambda card: [case.update(split=split) for case in card["cases"]]


def test_all_reasons_at_once(run: Path, published: Path, evaluation: Path, tmp_path: Path) -> None:
    """An incomplete description, training cases, another model's label maps, and a run that goes on."""
    other = changed(run, tmp_path / "run", used_for("train"))
    card = json.loads((other / "model.json").read_text())
    with zipfile.ZipFile(other / "model.keras", "a") as archive:
        archive.comment = b"another file"
    digest = hashlib.sha256((other / "model.keras").read_bytes()).hexdigest()
    (other / "model.json").write_text(json.dumps({**card, "model_sha256": digest}))
    (other / "exit.json").unlink()
    words = write_words(tmp_path, title=" ", licence="BSD-ish", data={"name": "Noise", "source": None})
    message = str(refusal(other, tmp_path / "out", description=words, evaluation=evaluation))
    assert message.splitlines()[0] == "not published, for 4 reasons:"
    for reason in (
        "its run is starting, not finished; let it end, or ask for the best network so far",
        "title, data.licence, data.source must be filled in; licence: must be an SPDX expression",
        "were made by another model (SHA-256",
        "2 of 2 evaluated cases are ones that this network, or one that it started from, was trained on",
    ):
        assert sum(reason in line for line in message.splitlines()) == 1, message


def test_one_reason_is_one_line(run: Path, evaluation: Path, tmp_path: Path) -> None:
    chosen = changed(run, tmp_path / "run", used_for("validation"))
    message = str(refusal(chosen, tmp_path / "out", description=write_words(tmp_path), evaluation=evaluation))
    assert message == (
        "not published: 2 of 2 evaluated cases are ones that this network, or one that it started from, was chosen by; "
        "evaluate on others"
    )


def test_other_scans_of_patients_that_it_learned_from(
    run: Path, evaluation: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    """A split that someone gave may part a patient's scans; the prepared dataset knows whose they are."""
    copy = shutil.copytree(dataset.folder, tmp_path / "prepared")
    cases = json.loads((copy / "cases.json").read_text())
    for case in cases["cases"]:
        if case["case_id"] == dataset.splits.train[0]:
            case["patient_id"] = dataset.splits.test[0]
    (copy / "cases.json").write_text(json.dumps(cases))
    mixed = shutil.copytree(run, tmp_path / "run")
    (mixed / "config.yaml").write_text(f"dataset: {copy}")
    message = str(refusal(mixed, tmp_path / "out", description=write_words(tmp_path), evaluation=evaluation))
    assert "1 of 2 evaluated cases is another scan of a patient that it learned from" in message


def test_label_maps_of_which_nobody_knows_the_model(run: Path, evaluation: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "test/predictions", tmp_path / "predictions")
    (tmp_path / "predictions/prediction.json").unlink()
    wishes = {"description": write_words(tmp_path), "evaluation": evaluation, "prediction": tmp_path / "predictions"}
    assert "which has no prediction.json to say which model made them" in str(refusal(run, tmp_path / "out", **wishes))


def test_a_card_that_names_code(run: Path, tmp_path: Path) -> None:
    network = {"architecture": "custom", "build": "sly:build"}
    own = changed(run, tmp_path / "run", lambda card: card.update(network=network))
    assert "its card names code, sly:build" in str(refusal(own, tmp_path / "out", description=write_words(tmp_path)))


def test_the_best_network_so_far_where_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    (own / "exit.json").unlink()
    wishes = PublishSettings(description=write_words(tmp_path), unfinished=True)
    text = (publish_model(own, tmp_path / "out", wishes).folder / "card.md").read_text()
    assert "Its training was published in the state “starting”" in text


def test_a_run_that_starts_from_a_published_network(
    run: Path, published: Path, evaluation: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    """What the published one learned from is known by its salted hashes, and goes on into the next one's card."""
    child = RunFolder(changed(run, tmp_path / "run", lambda card: None))
    parent = read_model_card(published)[1]
    keep_start_card(child, parent)
    log = EventLog(child.events)
    log.record(WeightsTaken(source=str(published), copied=1))
    log.close()
    seen = read_seen_before(child)
    assert len(seen) == sum(case.split != "test" for case in parent.cases)
    trained = [case.model_copy(update={"split": "train"}).model_dump(mode="json") for case in parent.cases]
    child.card.write_text(json.dumps({**json.loads(child.card.read_text()), "seen_before": trained}))
    words = write_words(tmp_path)
    assert "started from, was trained on" in str(
        refusal(child.path, tmp_path / "out", description=words, evaluation=evaluation)
    )
    card = publish_model(child.path, tmp_path / "out", PublishSettings(description=words)).card
    assert len({case.hash_salt for case in (*card.cases, *card.seen_before)}) == 2
    assert [case.case_id for case in (*card.cases, *card.seen_before)] == [f"case {n}" for n in range(1, 13)]
    assert {card.split_of(case.image_sha256) for case in dataset.cases.values()} == {"train"}
    description = read_description(tmp_path / "out")
    assert (description.parent, description.parent_sha256) == ("noise:1", parent.model_sha256)


def test_a_folder_that_is_not_free(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError):
        publish_model(run, tmp_path, PublishSettings(description=tmp_path / "none.yaml"))


def test_a_description_of_a_newer_version_says_so_in_a_line(published: Path, tmp_path: Path) -> None:
    content = json.loads((published / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**content, "schema_version": 2, "more": 1}))
    with pytest.raises(ZooError, match=r"was made by a newer R2D2 \(schema_version 2, this one reads 1\): update R2D2"):
        read_description(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({**content, "more": 1}))
    with pytest.raises(ZooError, match="more: unknown key"):
        read_description(tmp_path)
    assert ModelDescription.model_validate(content) == read_description(published)
