"""The card of a model of pictures counts in pixels and pictures: nobody knows their size, nor whose they are."""

import re
from pathlib import Path

import pytest

from dist_training.inference.model_card import ModelCard
from r2d2.zoo.card.description import Mean, ModelDescription, ScoresOfModel, WorstCase, read_description
from r2d2.zoo.card.page import card_html, card_markdown
from r2d2_base.files import read_json
from tests.zoo_models import write_model

MEAN = Mean(value=0.5, low=0.25, high=0.75, n=12)
METRICS = ("dice", "hd95_mm", "absolute_volume_difference_ml")


def described(folder: Path, kind: str) -> tuple[ModelDescription, ModelCard]:
    written = write_model(folder)
    card = ModelCard.model_validate(read_json(written / "model.json")).model_copy(update={"scan_kinds": (kind,)})
    scores = ScoresOfModel(
        split="test",
        cases=12,
        patients=12,
        metrics={name: {"Anterior": MEAN} for name in METRICS},
        overall=dict.fromkeys(METRICS, MEAN),
        worst=(WorstCase(rank="Worst", scores={"Anterior": dict.fromkeys(METRICS, 0.25)}),),
        model_sha256=card.model_sha256,
        conventions={"nsd tolerance": "every label 1 mm"},
    )
    counts = {"train": 3, "test": 12}
    known = read_description(written)
    data = known.data.model_copy(update={"cases": counts, "patients": counts})
    return known.model_copy(update={"scores": scores, "data": data}), card


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_lengths_and_patients(kind: str, tmp_path: Path) -> None:
    description, card = described(tmp_path / "model", kind)
    for text in (card_markdown(description, card), card_html(description, card)):
        said = re.sub(r"<[^>]*>", " ", text.partition("How well it works")[2])
        words = set(re.findall(r"[a-z]+", said.lower()))
        expected = {"pixels", "pictures"} if kind == "picture" else {"mm", "ml", "patients", "axial"}
        absent = {"mm", "ml", "millimetres", "patients", "axial"} if kind == "picture" else {"px", "pictures"}
        assert expected <= words
        assert not absent & words
        assert re.search(r"3 (patient|picture)s only", text) is not None
