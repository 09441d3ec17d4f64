"""PNG, JPEG and TIFF: what Pillow and OpenCV write is read with its bits, channels and pages."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from imgmed.conversion.files import read_picture
from imgmed.errors import InvalidVolumeError, LabelError, SourceLayoutError, UnreadableFileError, UnsupportedFormatError
from imgmed.formats import read_header, read_volume
from imgmed.formats.labels import read_label
from imgmed.geometry import orientation_of, to_canonical
from imgmed.study import VolumeSource
from imgmed.volume import Volume

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize(
    "array", [GREY, RGB, DEEP, np.concatenate([RGB, ALPHA], axis=2)], ids=["L", "RGB", "16", "RGBA"]
)
def test_pixels_come_back_as_rows_columns_pages(tmp_path: Path, array, suffix):
    path = save(tmp_path / f"a{suffix}", array)
    volume, header = read_volume(path), read_header(path)
    np.testing.assert_array_equal(volume.array, array[:, :, np.newaxis])
    assert volume.array.dtype == header.dtype == array.dtype
    assert (volume.shape, volume.channels) == (header.shape, header.channels)
    first_page = SimpleITK.ReadImage(str(path))
    for row, column in ((0, 0), (3, 1), (1, 4)):
        x, y = first_page.TransformIndexToPhysicalPoint((column, row))[:2]
        np.testing.assert_allclose(volume.affine @ [row, column, 0, 1], [-x, -y, 0, 1])


def test_the_radiological_view_shows_pictures_upright(tmp_path: Path):
    """The patient's right at the left edge and the front at the top: both canonical axes of the plane are turned."""
    volume = read_volume(save(tmp_path / "a.png", GREY))
    plane = to_canonical(volume.array, orientation_of(volume.affine))[:, :, 0]
    np.testing.assert_array_equal(plane[::-1, ::-1].T, GREY)


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 3), (".png", 4), (".tif", 3)])
def test_colour_of_16_bits_keeps_them(tmp_path: Path, suffix, channels):
    array = np.dstack([DEEP_RGB, DEEP])[:, :, :channels]
    bgr = array[:, :, [2, 1, 0, 3][:channels]]
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), bgr)
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array[:, :, 0], array)


def test_a_constant_alpha_channel_is_dropped(tmp_path: Path):
    opaque = np.concatenate([RGB, np.full_like(ALPHA, 255)], axis=2)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.png", opaque)).array[:, :, 0], RGB)
    grey = np.concatenate([GREY[..., np.newaxis], np.full_like(ALPHA, 255)], axis=2)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "b.png", grey)).array[:, :, 0], GREY)


def test_black_and_white_floats_and_integers_of_32_bits(tmp_path: Path):
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").array[:, :, 0], GREY > 99)
    real = RNG.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.tif", real)).array[:, :, 0], real)
    whole = RNG.integers(-70000, 70000, (4, 3), dtype=np.int32)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "b.tif", whole)).array[:, :, 0], whole)


@pytest.fixture
def palette(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    numbers = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [9, 200, 30], [4, 5, 6]], np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / "p.png")
    return tmp_path / "p.png", numbers, colours


def test_a_palette_is_colours_in_an_image_and_numbers_in_a_label_map(palette):
    path, numbers, colours = palette
    np.testing.assert_array_equal(read_volume(path).array[:, :, 0], colours[numbers])
    label = read_label(path, Volume(np.zeros((5, 7, 1)), read_volume(path).affine))
    np.testing.assert_array_equal(label.array[:, :, 0], numbers)


def test_a_jpeg_is_read_as_an_image_and_refused_as_a_label_map(tmp_path: Path):
    smooth = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype(np.uint8)
    path = save(tmp_path / "a.jpg", smooth, quality=95)
    image = read_volume(path)
    assert np.abs(image.array[:, :, 0].astype(int) - smooth).max() < 6
    with pytest.raises(UnsupportedFormatError, match=r"a\.jpg: JPEG changes pixel values.*PNG.*mask_threshold=128"):
        read_label(path, image)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_threshold_makes_a_mask_of_a_jpeg(tmp_path: Path, mode: str):
    mask = np.zeros((32, 32), np.uint8)
    mask[7:20, 9:29] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "a.jpg", quality=60)
    image = Volume(np.zeros((32, 32, 1)), read_volume(tmp_path / "a.jpg").affine)
    label = read_label(tmp_path / "a.jpg", image, mask_threshold=128)
    np.testing.assert_array_equal(label.array[:, :, 0], mask > 0)


def test_a_label_map_of_another_size_is_refused(tmp_path: Path):
    image = read_volume(save(tmp_path / "a.png", GREY))
    with pytest.raises(Exception, match=r"a\.png: image and its label .*b\.png .*4 x 7 x 1 .*5 x 7 x 1"):
        read_label(save(tmp_path / "b.png", GREY[:4]), image)


def test_grey_written_as_rgb_is_a_label_map_and_colours_are_not(tmp_path: Path):
    image = read_volume(save(tmp_path / "a.png", GREY))
    grey = read_label(save(tmp_path / "b.png", np.dstack([GREY] * 3)), image)
    np.testing.assert_array_equal(grey.array[:, :, 0], GREY)
    with pytest.raises(LabelError, match=r"c\.png.*one number for each voxel; received 3 \(colours"):
        read_label(save(tmp_path / "c.png", RGB), image)


def test_pages_and_sequences_are_the_third_axis(tmp_path: Path):
    pages = RNG.integers(0, 256, (3, 5, 7), dtype=np.uint8)
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, pages.transpose(1, 2, 0))
    assert read_header(tmp_path / "a.tif").shape == (5, 7, 3)

    folder = tmp_path / "stack"
    folder.mkdir()
    for number, page in enumerate(pages, start=9):
        save(folder / f"s{number}.png", page)
    np.testing.assert_array_equal(read_volume(folder).array, pages.transpose(1, 2, 0))
    source = VolumeSource((folder / "s11.png", folder / "s9.png"))
    np.testing.assert_array_equal(read_volume(source).array, pages[[2, 0]].transpose(1, 2, 0))


@pytest.mark.parametrize("other", [GREY[:4], RGB, DEEP], ids=["size", "colour", "bits"])
def test_unlike_pictures_are_no_stack(tmp_path: Path, other):
    save(tmp_path / "a1.png", GREY)
    save(tmp_path / "a2.png", other)
    with pytest.raises(InvalidVolumeError, match=r"a2\.png: pictures of one stack need one size and kind"):
        read_volume(tmp_path)


def test_folders_without_a_volume_are_refused(tmp_path: Path):
    with pytest.raises(SourceLayoutError, match="exactly one DICOM series or one stack of pictures; found neither"):
        read_volume(tmp_path)


def test_colours_that_are_no_channels_and_animations_are_refused(tmp_path: Path):
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(UnsupportedFormatError, match=r"a\.tif: pixels of kind CMYK"):
        read_volume(tmp_path / "a.tif")
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedFormatError, match=r"b\.png: an animated PNG of 2 frames"):
        read_volume(tmp_path / "b.png")


def test_truncated_colour_of_16_bits_is_named(tmp_path: Path, capfd):
    deep = RNG.integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), deep)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(UnreadableFileError, match=name.replace(".", r"\.")):
            read_volume(tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_truncated_pictures_are_named(tmp_path: Path, name, kept):
    path = save(tmp_path / name, RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UnreadableFileError, match=name.replace(".", r"\.")):
        read_volume(path)


def test_a_picture_of_another_format_than_its_name_is_refused(tmp_path: Path):
    save(tmp_path / "a.png", GREY).rename(tmp_path / "a.jpg")
    with pytest.raises(UnreadableFileError, match=r"a\.jpg: not a JPEG picture"):
        read_volume(tmp_path / "a.jpg")


def png_claiming(path: Path, width: int, height: int, bits: int = 8, rows: bytes = b"\0" * 100) -> Path:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("size", [(10000, 10000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_pictures_that_claim_absurd_sizes_are_refused(tmp_path: Path, size):
    with pytest.raises((UnreadableFileError, InvalidVolumeError), match=r"a\.png: .*asks for"):
        read_volume(png_claiming(tmp_path / "a.png", *size))


@pytest.mark.parametrize(("bits", "row", "labels"), [(2, b"\0\x1b", [0, 1, 2, 3]), (4, b"\0\x01\x2f", [0, 1, 2, 15])])
def test_labels_of_few_bits_keep_their_numbers(tmp_path: Path, bits, row, labels):
    """Pillow stretches grey levels of 2 and 4 bits to 255, so that label 1 would become 85 or 17."""
    path = png_claiming(tmp_path / "a.png", 4, 2, bits, row * 2)
    label_map = read_label(path, Volume(np.zeros((2, 4, 1)), read_volume(path).affine))
    assert label_map.array[..., 0].tolist() == [labels, labels]


def write_imagej(path: Path, pages: np.ndarray, order: str = ">", said: int | None = None) -> Path:
    """A TIFF 6.0 file put together by hand: one directory, then the pixels of every page (n, rows, columns[, 3])."""
    said = len(pages) if said is None else said
    description = f"ImageJ=1.53t\nimages={said}\nslices={said}\nloop=false\n\0".encode()
    samples, bits = 3 if pages.ndim == 4 else 1, 8 * pages.itemsize
    kind = {"u": 1, "i": 2, "f": 3}[pages.dtype.kind]
    start = 8 + 2 + 10 * 12 + 4
    entries = [
        (256, 4, 1, pages.shape[2]), (257, 4, 1, pages.shape[1]), (258, 4, 1, bits), (259, 4, 1, 1),
        (262, 4, 1, 2 if samples == 3 else 1), (270, 2, len(description), start),
        (273, 4, 1, start + len(description)), (277, 4, 1, samples), (279, 4, 1, pages[0].nbytes), (339, 4, 1, kind),
    ]  # fmt: skip
    directory = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", 10)
    pixels = pages.astype(pages.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(head + directory + bytes(4) + description + pixels)
    return path


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, "RGB"])
def test_an_imagej_stack_behind_one_directory_is_read_whole(tmp_path: Path, dtype, order):
    shape, kind = ((4, 5, 7, 3), np.uint8) if dtype == "RGB" else ((4, 5, 7), dtype)
    pages = RNG.integers(0, 250, shape).astype(kind)
    path = write_imagej(tmp_path / "a.tif", pages, order)
    np.testing.assert_array_equal(read_volume(path).array, np.moveaxis(pages, 0, 2))
    assert read_header(path).shape == (5, 7, 4)
    if kind == np.uint8 and dtype != "RGB":
        image = Volume(np.zeros((5, 7, 4)), read_header(path).affine)
        np.testing.assert_array_equal(read_label(path, image).array, np.moveaxis(pages, 0, 2))


def test_an_imagej_stack_that_lacks_pictures_is_refused(tmp_path: Path):
    path = write_imagej(tmp_path / "a.tif", RNG.integers(0, 250, (3, 5, 7)).astype(np.uint8), said=5)
    for use in (read_volume, read_header, read_picture):
        with pytest.raises(UnsupportedFormatError, match=r"a\.tif: .*5 pictures"):
            use(path)
