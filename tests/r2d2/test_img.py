"""The paper's interface: four lines, its names and order of arguments, and what it says when asked for nonsense."""

import inspect
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imgmed.errors import ConversionError, SourceNotFoundError
from r2d2.img import ImgMed

pytestmark = pytest.mark.slow

FOUR_LINES = """
from r2d2.img import ImgMed
ImgMed.convert_4DNI_to_RGBJPG("my scans", "work/rgb", 2)
ImgMed.reshape_JPG_to2D("work/rgb", "work/grey")
ImgMed.convert_JPG_to_PNG("work/grey", "work/png")
ImgMed.resize_img("work/png", "work/350", "png", 350, 350)
"""


def write_scan(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return array


def smooth(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """A scan without edges, which JPEG keeps well."""
    axes = np.meshgrid(*(np.linspace(0, 3 + number, length) for length in shape), indexing="ij")
    return (1000 * (1 + np.sin(sum(axes)))).astype(np.int16)


def test_four_lines_make_a_picture_of_350_by_350_of_every_slice(tmp_path):
    for number in range(3):
        write_scan(tmp_path / "my scans" / f"né {number}.nii.gz", smooth(number, (24, 20, 5, 4)))
    (tmp_path / "four.py").write_text(FOUR_LINES)
    done = subprocess.run([sys.executable, "four.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
    pictures = sorted((tmp_path / "work" / "350").glob("*.png"))
    assert [path.name for path in pictures] == [f"né {n}_z00{z}.png" for n in range(3) for z in range(5)]
    for path in pictures:
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((350, 350), "L")


# No `if __name__ == "__main__"`: a script of a few lines has none, whatever the number of workers.
PLAIN_SCRIPT = """
from imgmed.conversion import folder
from r2d2.img import ImgMed
print("begin")
folder.BYTES_WORTH_A_WORKER = 1
print(ImgMed.convert_4DNI_to_PNG("scans", "out", workers=2).pictures)
"""


def test_workers_do_not_run_the_callers_script_again(tmp_path):
    for number in range(3):
        write_scan(tmp_path / "scans" / f"{number}.nii.gz", smooth(number, (8, 8, 5)))
    (tmp_path / "plain.py").write_text(PLAIN_SCRIPT)
    done = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["begin", "15"], "")


def test_each_of_the_four_steps_is_what_its_name_says(tmp_path):
    array = write_scan(tmp_path / "scans" / "a.nii.gz", smooth(0, (24, 20, 5, 3)))
    ImgMed.convert_4DNI_to_RGBJPG(tmp_path / "scans", tmp_path / "rgb", 2, percentiles=(0, 100), workers=1)
    ImgMed.reshape_JPG_to2D(tmp_path / "rgb", tmp_path / "grey", workers=1)
    ImgMed.convert_JPG_to_PNG(tmp_path / "grey", tmp_path / "png", workers=1)
    with Image.open(tmp_path / "rgb" / "a_z003.jpg") as colour:
        assert colour.mode == "RGB"
    with Image.open(tmp_path / "grey" / "a_z003.jpg") as grey, Image.open(tmp_path / "png" / "a_z003.png") as png:
        assert (grey.mode, png.mode, png.size) == ("L", "L", (24, 20))
        np.testing.assert_array_equal(np.asarray(png), np.asarray(grey))
        found = np.asarray(png, float)
    low, high = array.min(axis=(0, 1, 2)), array.max(axis=(0, 1, 2))
    scaled = 255 * (array[:, :, 3].astype(float) - low) / (high - low)
    luma = scaled @ [0.299, 0.587, 0.114]
    assert np.abs(found - luma[::-1, ::-1].T).max() < 6  # two encodings as JPEG


def test_the_lossless_way_is_one_line(tmp_path):
    array = write_scan(tmp_path / "scans" / "a.nii.gz", smooth(0, (24, 20, 5)))
    ImgMed.convert_4DNI_to_PNG(tmp_path / "scans", tmp_path / "png", workers=1)
    with Image.open(tmp_path / "png" / "a_z004.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), array[::-1, ::-1, 4].T)
    ImgMed.convert_4DNI_to_PNG(tmp_path / "scans", tmp_path / "350", size=(350, 300), slices=2, workers=1)
    assert sorted(path.name for path in (tmp_path / "350").glob("*.png")) == ["a_z001.png", "a_z003.png"]
    with Image.open(tmp_path / "350" / "a_z001.png") as picture:
        assert picture.size == (300, 350)


def test_names_and_order_are_the_papers():
    expected = {
        "convert_4DNI_to_RGBJPG": ["src", "dst", "dim"],
        "reshape_JPG_to2D": ["src", "dst"],
        "convert_JPG_to_PNG": ["src", "dst"],
        "resize_img": ["src", "dst", "format", "height", "width"],
    }
    for name, wanted in expected.items():
        parameters = inspect.signature(getattr(ImgMed(), name)).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == wanted


def test_height_comes_before_width_and_progress_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("L", (10, 10)).save(tmp_path / "in" / "a.png")
    seen = []
    ImgMed().resize_img(
        tmp_path / "in", tmp_path / "out", ".JPEG", 30, 40, workers=1, progress=lambda *s: seen.append(s)
    )
    with Image.open(tmp_path / "out" / "a.jpg") as picture:
        assert picture.size == (40, 30)
    assert seen == [("converting", 0, 1), ("converting", 1, 1)]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda src, dst: ImgMed.convert_4DNI_to_RGBJPG(src, dst, 155), "slices= for a number of slices"),
        (lambda src, dst: ImgMed.convert_4DNI_to_RGBJPG(src, dst, 2, slices=0), "slices: .*received 0"),
        (lambda src, dst: ImgMed.convert_4DNI_to_PNG(src, dst, 2, bits=12), "bits: .*8 or 16.*received 12"),
        (lambda src, dst: ImgMed.resize_img(src, dst, "gif", 5, 5), "format: must be 'png' or 'jpg'; received 'gif'"),
        (lambda src, dst: ImgMed.resize_img(src, dst, "png", 0, 5), "1 to 16384 pixels; received 0x5"),
        (lambda src, dst: ImgMed.reshape_JPG_to2D(src, dst, workers=0), "workers: at least 1"),
    ],
)
def test_nonsense_is_refused_in_one_line(tmp_path, call, sentence):
    with pytest.raises(ConversionError, match=sentence) as caught:
        call(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_only_jpeg_pictures_are_taken_where_the_name_says_so(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(SourceNotFoundError, match=r"\.jpg, \.jpeg"):
        ImgMed.convert_JPG_to_PNG(tmp_path, tmp_path.parent / "out", workers=1)
