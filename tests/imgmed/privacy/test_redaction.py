"""Names in every usual spelling, and what is left alone."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.privacy import Redaction
from imgmed.privacy.identities import identities_of_study
from imgmed.study import Study

JOERG = Redaction([("Müller-Weiß^Jörg", "PID-00815", "19700131")], ["XX"])


@pytest.mark.parametrize(
    "text",
    [
        "Müller", "MUELLER", "muller", "Mueller-Weiss", "müller_weiß", "MullerWeiss", "JörgMüller", "Joerg, Mueller",
        "jorg", unicodedata.normalize("NFD", "Müller"), "Müller^Jörg", "weiss", "PID-00815",
        "pid00815", "PID_00815", "19700131", "1970-01-31", "31.01.1970", "31.1.1970", "31/01/1970", "01/31/1970",
        "31011970", "310170", "31.1.70", "31Jan1970", "31. Januar 1970", "Jan 31, 1970", "1970_01_31",
    ],
)  # fmt: skip
def test_every_usual_spelling_is_found(text: str) -> None:
    assert JOERG.apply(f"scans/ct_{text}_1.nii") == "scans/ct_XX_1.nii"
    assert JOERG.apply(text) == "XX"


@pytest.mark.parametrize("text", ["multimodal", "joe", "weis", "1970", "1970-01-13", "PID-00816", "311"])
def test_what_only_looks_alike_is_left(text: str) -> None:
    assert JOERG.apply(f"scans/{text}.nii") == f"scans/{text}.nii"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Li^Na", "li_na/Na-Li lina NaLi", "X/X"),
        ("Li^Na", "Li/limb nasal", "X/limb nasal"),
        ("Doe^Jane", "DoeJ_ct jdoe does doer", "X_ct X does doer"),
        ("Wang^XiaoDong=王^小東", "王小東/王/Xiaodong_Wang", "X/X/X"),
        ("Ångström^Øyvind", "Aangstroem oyvind/Angstrom_Oeyvind", "X/X"),
        ("Loew^Ann", "Löw/low", "X/X"),
        ("Of^The", "one of the others, ofthe", "one X others, X"),
        ("O'Neill^Sean", "ONeill_1 o-neill Sean O'Neill", "X_1 X"),
    ],
)
def test_names_of_many_kinds(name: str, text: str, expected: str) -> None:
    assert Redaction([(name,)], ["X"]).apply(text) == expected


@pytest.mark.parametrize(
    ("folder", "text", "expected"),
    [
        ("Mueller_Hans_19700131", "hans: Müller born 31.1.1970", "X born X"),
        ("case_01", "case_01/case_02: the case of 01", "X/case_02: the case of 01"),
        ("patient 7", "patient 7, patient 8", "X, patient 8"),
        ("visit2 of Nguyen", "a folder of visit2 of Nguyen", "a folder of X"),
    ],
)
def test_names_of_folders(folder: str, text: str, expected: str) -> None:
    assert Redaction([(folder,)], ["X"]).apply(text) == expected


def test_each_patient_has_a_place_of_their_own() -> None:
    found = Redaction([("Doe^Jane", "4711"), ("Roe^Richard", "4712")]).apply("Doe/4712 Richard Jane 4711")
    assert found == "[patient 1]/[patient 2] [patient 1]"
    assert Redaction([("", " ^ ")]).apply("a ^ b") == "a ^ b"


def written_otherwise(name: str) -> st.SearchStrategy[str]:
    """The name in other letters, with umlauts written in another way."""
    ways = [str.upper, str.lower, str.title, lambda one: unicodedata.normalize("NFD", one)]
    umlauts = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
    plain = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "ß": "ss"})
    ways += [lambda one: one.translate(umlauts), lambda one: one.translate(plain)]
    return st.sampled_from(ways).map(lambda way: way(name))


NAMES = st.text("abeglmnorsuwäöüß", min_size=5, max_size=9).filter(lambda name: not re.search("[aeouäöü]{2}", name))


@given(st.data(), NAMES, st.text(" _-/.0123456789", max_size=4))
def test_a_name_is_found_however_it_is_written(data: st.DataObject, name: str, around: str) -> None:
    written = data.draw(written_otherwise(name))
    hidden = Redaction([(name,)], ["#"]).apply(f"{around}{written}{around}")
    assert re.fullmatch(r"[ _\-/.0-9]*#[ _\-/.0-9]*", hidden)


@given(st.text("abcdefgh /_-.0123456789äöü", max_size=60))
def test_texts_without_a_name_stay_as_they_are(text: str) -> None:
    assert Redaction([("Xylander^Quirin", "QX-9999-1"), ("Zwick^Jost", "")]).apply(text) == text


def test_a_study_without_dicom_has_no_identities(tmp_path) -> None:
    assert identities_of_study(Study("s", tmp_path, "patients", (), patients=("Ann",))) == {}
