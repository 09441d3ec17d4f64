"""A network and its card: what is saved is read back, what does not belong together is refused."""

import hashlib
import hmac
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dist_training.architectures import UNetSettings, build_network, read_network
from dist_training.errors import ModelError
from dist_training.inference.model_card import (
    UsedCase,
    keep_start_card,
    read_kept_start,
    read_model_card,
    read_seen_before,
    salted,
    save_model,
)
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study

SPLITS = ("train", "validation", "test")
NETWORK = UNetSettings(depth=1, base_filters=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("model-card")
    write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(normalisation="zscore_dataset"))


@pytest.fixture(scope="module")
def saved(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = RunFolder(tmp_path_factory.mktemp("saved"))
    save(dataset, folder, seed=3)
    return folder.path


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "run")


def save(
    dataset: PreparedDataset, folder: RunFolder, seed: int, seen_before: tuple[UsedCase, ...] = ()
) -> list[np.ndarray]:
    model = build_network(NETWORK, 1, 3, seed=seed)
    save_model(
        model,
        folder,
        network=NETWORK,
        dataset=dataset,
        epoch=7,
        validation_dice=0.625,
        validation_dice_per_label={"organ": 0.75, "lesion": None},
        seen_before=seen_before,
    )
    return model.get_weights()


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model_card(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_saved_is_read_back(dataset: PreparedDataset, saved: Path) -> None:
    network, card = read_model_card(saved)
    assert network == saved / "model.keras"
    assert card.network == NETWORK
    assert (card.channels, card.num_outputs, card.class_values) == (("MRI",), 3, (0, 1, 2))
    assert card.labels == {"background": 0, "organ": 1, "lesion": 2}
    assert card.scan_preparation == dataset.scan_preparation
    assert (card.epoch, card.validation_dice, card.dataset) == (7, 0.625, "Phantom")
    assert card.validation_dice_per_label == {"organ": 0.75, "lesion": None}
    assert card.model_sha256 == hashlib.sha256(network.read_bytes()).hexdigest()
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.keras"]


def test_the_normalisation_is_that_of_the_training_cases(dataset: PreparedDataset, saved: Path) -> None:
    values = np.concatenate([np.asarray(dataset.image(case), np.float64).ravel() for case in dataset.splits.train])
    normalisation = read_model_card(saved)[1].normalisation
    assert normalisation.kind == "zscore_dataset"
    assert normalisation.mean == pytest.approx((values.mean(),), rel=1e-9)
    assert normalisation.std == pytest.approx((values.std(),), rel=1e-9)


def test_every_case_is_told_by_the_content_of_its_scan(dataset: PreparedDataset, saved: Path) -> None:
    scans = {path.name: path for path in (dataset.source_root / "imagesTr").iterdir()}
    found = {case.case_id: case for case in read_model_card(saved)[1].cases}
    assert len(found) == len(scans) == 4
    for split, case_ids in (("train", dataset.splits.train), ("test", dataset.splits.test)):
        for case_id in case_ids:
            digest = hashlib.sha256(scans[f"{case_id}.nii.gz"].read_bytes()).hexdigest()
            assert (found[case_id].split, found[case_id].image_sha256) == (split, (digest,))
    assert {case.split for case in found.values()} == {"train", "validation", "test"}


def test_what_a_network_has_seen_goes_on_from_card_to_card(dataset: PreparedDataset, run: Path, tmp_path: Path) -> None:
    """Grandparent, parent, child: what trained or validated the first two; of several uses, what weighs most."""
    (train, *_), (validation, *_), (test, *_) = (getattr(dataset.splits, name) for name in SPLITS)
    images = {case_id: dataset.case(case_id).image_sha256 for case_id in (train, validation, test)}
    elsewhere = UsedCase(case_id="far", split="validation", image_sha256=("f" * 64,))
    trained = UsedCase(case_id="as it was called there", split="train", image_sha256=images[test])
    save(dataset, RunFolder(run), seed=3, seen_before=(elsewhere, trained))
    parent = read_model_card(run)[1]
    child = RunFolder(tmp_path)
    keep_start_card(child, parent)
    seen = read_seen_before(child)
    assert {case.image_sha256: case.split for case in seen} == {
        **{dataset.case(case_id).image_sha256: "train" for case_id in dataset.splits.train},
        images[validation]: "validation",
        images[test]: "train",
        ("f" * 64,): "validation",
    }
    assert len(seen) == len({case.image_sha256 for case in seen})
    keep_start_card(child, None)
    assert read_seen_before(child) == ()


def test_a_card_from_before_ancestors_were_recorded(run: Path) -> None:
    card = json.loads((run / "model.json").read_text())
    del card["seen_before"]
    (run / "model.json").write_text(json.dumps(card))
    assert read_model_card(run)[1].seen_before == ()


def test_the_weights_are_those_that_were_saved(dataset: PreparedDataset, run: Path) -> None:
    """Saving again replaces network and card together."""
    weights = save(dataset, RunFolder(run), seed=4)
    network, _ = read_model_card(run)
    for read, written in zip(read_network(network).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(read, written)


def test_the_file_may_be_named_instead_of_the_folder(saved: Path) -> None:
    assert read_model_card(saved / "model.keras") == read_model_card(saved)


def test_no_such_folder(tmp_path: Path) -> None:
    assert f"no such model: {tmp_path / 'none'}" in refusal(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.keras", "model.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    message = refusal(run)
    assert str(run) in message
    assert f"{name} is missing" in message


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[1, 2]", b"{}", b'{"schema_version": 1}', b"\xff\xfe\x00"])
def test_a_card_that_is_none(run: Path, content: bytes) -> None:
    (run / "model.json").write_bytes(content)
    assert f"{run / 'model.json'} is no model card" in refusal(run)


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"new_key": 1}, {"epoch": "soon"}, {"network": {"architecture": "vnet"}}]
)
def test_a_card_of_another_kind(run: Path, change: dict[str, object]) -> None:
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, **change}))
    message = refusal(run)
    assert str(run / "model.json") in message
    assert next(iter(change)) in message


def test_a_network_that_the_card_does_not_describe(run: Path) -> None:
    content = bytearray((run / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "model.keras").write_bytes(content)
    assert re.search(rf"{re.escape(str(run / 'model.keras'))} .*SHA-256 differs", refusal(run))


def test_a_save_that_fails_leaves_network_and_card(dataset: PreparedDataset, run: Path) -> None:
    """An epoch that is no number: there is no new card, and the old pair stays whole."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    model = build_network(NETWORK, 1, 3, seed=5)
    with pytest.raises(ValueError, match="epoch"):
        save_model(
            model,
            RunFolder(run),
            network=NETWORK,
            dataset=dataset,
            epoch="soon",  # type: ignore[arg-type]
            validation_dice=None,
            validation_dice_per_label={},
        )
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_salted_hashes_tell_the_same_scans(dataset: PreparedDataset, run: Path, tmp_path: Path) -> None:
    """Cases of two published models and of one's own, each with its salt: what weighs most counts, training most."""
    (train, *_), (validation, *_), (test, *_) = (getattr(dataset.splits, name) for name in SPLITS)
    images = {case_id: dataset.case(case_id).image_sha256 for case_id in (train, validation, test)}
    ancestors = tuple(
        UsedCase(case_id=f"case {n}", split=split, image_sha256=salted(images[case_id], salt), hash_salt=salt)
        for n, (case_id, split, salt) in enumerate([(test, "train", "5a"), (validation, "test", "1f")])
    )
    assert len({salted(images[test], salt) for salt in ("", "5a", "1f")}) == 3
    save(dataset, RunFolder(run), seed=3, seen_before=ancestors)
    card = read_model_card(run)[1]
    assert [card.split_of(images[case_id]) for case_id in (train, validation, test)] == ["train", "validation", "train"]
    assert card.split_of(["0" * 64]) is None
    assert card.trained_on([images[test], images[validation], ("0" * 64,)]) == 1
    child = RunFolder(tmp_path)
    keep_start_card(child, card)
    assert read_kept_start(child) == card
    assert ancestors[0] in read_seen_before(child) and ancestors[1] not in read_seen_before(child)


def test_a_salted_hash_is_an_hmac() -> None:
    digest = hashlib.sha256(b"scan").hexdigest()
    expected = hmac.new(b"0a", digest.encode(), "sha256").hexdigest()
    assert salted([digest], "0a") == (expected,)


def test_a_card_of_a_newer_version_says_so_in_a_line(run: Path) -> None:
    (run / "model.json").write_text('{"schema_version": 2, "weights": {"of": "another kind"}}')
    assert "was made by a newer R2D2 (schema_version 2, this one reads 1): update R2D2" in refusal(run)
    (run / "model.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert "is nested without end" in refusal(run)
