"""Names of a source in texts: which are found, which name nobody, and how cards lose them."""

import pytest

from dist_training.inference.model_card import UsedCase, salted
from r2d2.zoo.publishing.privacy import NameSearch, SourceNames, strings_in_json, strings_in_text


def search(*patients: str | tuple[str, ...], folders: tuple[str, ...] = (), **words: tuple[str, ...]) -> NameSearch:
    named = [frozenset([one] if isinstance(one, str) else one) for one in patients]
    return NameSearch(
        SourceNames(dict(zip(map(str, range(len(named))), named, strict=True)), frozenset(folders)), **words
    )


TWO = ("hippocampus_007_Meyer", "hippocampus_008_Schulz")


@pytest.mark.parametrize(
    ("names", "text", "found"),
    [
        (TWO, "The hippocampus of Mrs Meyer", ["meyer"]),
        (TWO, "Hippocampus 8: SCHULZ!", ["schulz"]),
        (TWO, "hippocampus-007/meyer.nii", ["hippocampus_007_Meyer", "meyer"]),
        (TWO, "Meyers, hippocampus_007, 007, Schulzendorf", []),
        (("JaneDoe", "x_1"), "as in Jane Doe, or doe jane", ["JaneDoe"]),
        (("Jörg_Müller", "x_1"), "Joerg Mueller, Jorg Muller, jörg", ["Jörg_Müller", "jörg", "müller"]),
        (("Loew", "x_1"), "low and Löw", ["Loew"]),
        (("O'Brien", "x_1"), "O'Brien", ["O'Brien", "brien"]),
        (("case_1", "case_2", "image", "sub-03"), "case 1, case 2, image, sub-03", []),
        (("4711", "12345678"), "4711 of 12345678 voxels", ["12345678"]),
        (("b4", "a1", "p0047"), "9fb4a1ce, a1b4, p0047-x", ["p0047"]),
        (("张伟", "x_1"), "扫描 张伟 的", ["张伟"]),
        (("Doe", "Doe"), "a name that two patients share, Doe", []),
    ],
)
def test_what_names_somebody(names: tuple[str, ...], text: str, found: list[str]) -> None:
    assert sorted({one.name for one in search(*names).find(text)}) == sorted(found)


def test_of_a_single_patient_every_word_but_generic_ones_is_telling() -> None:
    assert [one.name for one in search(("Doe", "scan_Doe_brain")).find("the scan of the brain")] == ["brain"]


def test_folders_allowed_words_and_words_of_the_card_itself() -> None:
    text = "Trained in ward-7 of the Charité on livers and on the model"
    names = ("model", "liver_a"), ("Roe",)
    assert [one.name for one in search(*names, folders=("Charite", "ward_7", "data")).find(text)] == [
        "ward_7",
        "Charite",
        "model",
    ]
    quiet = search(*names, folders=("Charite", "ward_7"), allowed=("Ward 7",), own_words=("charite", "model"))
    assert quiet.find(text) == []
    network = "hippocampus-fcn: an FCN, hippocampus"  # the other way round too, as a name may be
    assert [one.name for one in search(*names, folders=("hippocampus-fcn",)).find(network)] == ["hippocampus-fcn"]
    assert search(*names, folders=("hippocampus-fcn",), allowed=("hippocampus-fcn",)).find(network) == []


def test_places_name_nobody_either() -> None:
    strings = list(strings_in_json('{"labels": {"Doe": 1}, "cases": [{"id": "Roe"}]}'))
    assert ("labels", "Doe") in strings and ("cases", "Roe") in strings
    assert {place for place, _ in strings} == {"labels", "cases"}


def test_texts_are_searched_with_and_without_their_tags() -> None:
    page = '<img alt="Doe" src="data:image/png;base64,Um9l+Poe/">\n<p>Jane <b>R&ouml;e</b></p>'
    strings = list(strings_in_text(page))
    assert ("line 2", " Jane  Röe  ") in strings
    assert any('alt="Doe"' in text for place, text in strings if place == "line 1")
    assert not any("Poe" in text for _, text in strings)


def test_the_order_of_cases_is_that_of_nobody() -> None:
    from r2d2.zoo.publishing.privacy import _numbered, _salted_case

    cases = [UsedCase(case_id=name, split="train", image_sha256=(f"{n:064x}",)) for n, name in enumerate("abc")]
    once, twice = (_salted_case(cases[0], salt) for salt in ("1", "2"))
    assert once.image_sha256 == salted(cases[0].image_sha256, "1") != twice.image_sha256
    assert _salted_case(once, "2") == once
    assert [case.case_id for case in _numbered(cases, 4)] == ["case 4", "case 5", "case 6"]
