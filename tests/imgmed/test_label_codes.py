import subprocess
import sys

import pytest
from pydicom.sr.codedict import codes

from imgmed.errors import LabelError
from imgmed.label_codes import CATEGORIES, check_coded, code_parts


def test_categories_are_those_of_dicom() -> None:
    assert set(CATEGORIES) == set(codes.CID7150.concepts)
    assert all(getattr(codes.SCT, name) == getattr(codes.CID7150, name) for name in CATEGORIES)


@pytest.mark.parametrize(
    "code",
    [
        *("10200004", "SCT:10200004", "SCT:10200004:", "SCT::Liver", ":10200004:Liver", "SCT:10200004:Liver:Organ"),
        *("SCT:10200004:Liver:Tissue:more", "SCT:10 20:Liver", r"SCT:10200004:Li\ver", f"SCT:1:{'L' * 65}", ""),
    ],
)
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(LabelError, match="a code is SCHEME:VALUE:MEANING, such as SCT:10200004:Liver") as error:
        code_parts(code)
    assert str(error.value).endswith(f"received {code!r}")


def test_what_is_no_label_is_named() -> None:
    check_coded([], [])
    check_coded(["liver"], ["liver", "tumour"])
    with pytest.raises(LabelError, match="label_codes: no label 'livr', 'x'; the labels are liver, tumour"):
        check_coded(["livr", "liver", "x"], ["liver", "tumour"])


def test_settings_load_nothing_of_dicom() -> None:
    script = "import sys, imgmed.settings; print([name for name in ('numpy', 'pydicom') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
