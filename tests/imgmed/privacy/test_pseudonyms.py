"""Pseudonyms: keyed, stable, and nothing of a name left."""

import hashlib
import hmac
import re
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.errors import PatientKeyError
from imgmed.privacy import Pseudonyms, read_patient_key

KEY = bytes(range(32))


def test_is_the_hmac_of_the_name() -> None:
    expected = hmac.new(KEY, b"DOE^JANE", hashlib.sha256).hexdigest()
    assert Pseudonyms(KEY).of("DOE^JANE") == "p" + expected[:16]


def test_another_key_gives_another_pseudonym() -> None:
    assert Pseudonyms(KEY).of("a") != Pseudonyms(KEY[::-1]).of("a")


def test_the_key_is_not_shown() -> None:
    assert repr(Pseudonyms(b"secret" * 6)) == "Pseudonyms()"


def test_every_part_of_an_identity_is_hidden_whatever_its_case() -> None:
    text = "incoming/Doe_jane (PID-0815) born 1970-01-31 or 31.01.1970/19700131.dcm"
    hidden = Pseudonyms(KEY).redaction("PID-0815", ["DOE^Jane", "PID-0815", "19700131"]).apply(text)
    name = Pseudonyms(KEY).of("PID-0815")
    assert hidden == f"incoming/{name} ({name}) born {name} or {name}/{name}.dcm"


def test_short_parts_stay() -> None:
    """Two letters occur in too many words."""
    assert Pseudonyms(KEY).redaction("1", ["LI^AL"]).apply("study/oil.nii") == "study/oil.nii"


@given(st.text(min_size=4).filter(str.isalnum), st.text(), st.text())
def test_hiding_leaves_no_name_but_within_a_pseudonym(name: str, before: str, after: str) -> None:
    hidden = Pseudonyms(KEY).redaction("x", [name]).apply(f"{before}{name}{after}")
    left = re.sub(r"p[0-9a-f]{16}", "", hidden)
    assert (
        re.search(re.escape(name), left, re.IGNORECASE) is None
        or re.search(re.escape(name), before + after, re.IGNORECASE) is None
    )


class TestKeyFile:
    def test_is_made_for_its_owner_alone_and_kept(self, tmp_path) -> None:
        path = tmp_path / "new folder" / "key"
        key = read_patient_key(path)
        assert len(key) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert read_patient_key(path) == key
        assert [entry.name for entry in path.parent.iterdir()] == ["key"]

    def test_of_many_at_once_all_get_the_same(self, tmp_path) -> None:
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(read_patient_key, [tmp_path / "key"] * 32))
        assert len(keys) == 1

    def test_one_that_others_may_read_is_refused(self, tmp_path) -> None:
        path = tmp_path / "key"
        read_patient_key(path)
        path.chmod(0o640)
        with pytest.raises(PatientKeyError, match=r"may be read by others \(mode 0640\); run chmod 600"):
            read_patient_key(path)

    @pytest.mark.parametrize("content", [b"", b"short", b"k" * 33])
    def test_one_of_another_length_is_refused(self, tmp_path, content) -> None:
        path = tmp_path / "key"
        path.touch(0o600)
        path.write_bytes(content)
        with pytest.raises(PatientKeyError, match="holds no key of 32 bytes"):
            read_patient_key(path)

    def test_a_folder_is_no_key(self, tmp_path) -> None:
        with pytest.raises(PatientKeyError, match="cannot be read"):
            read_patient_key(tmp_path)
