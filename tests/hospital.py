"""A study as a hospital hands it out: DICOM in folders that are called after the patients."""

import contextlib
import gzip
import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from rt_utils import RTStructBuilder

from tests.dicom_files import write_series

SHAPE = (24, 24, 6)
AFFINE = np.array([[-0.75, 0, 0, 100], [0, -0.75, 0, 50], [0, 0, 2.5, -300], [0, 0, 0, 1]])
CHEST = "thorax 1 mm"
FIELDS = ("PatientName", "PatientID", "PatientBirthDate")


@dataclass(frozen=True)
class Person:
    """A patient: the header's name, number and birth date, and how folders are called after them."""

    name: str
    number: str
    born: str
    folders: tuple[str, ...]


PEOPLE = (
    Person("Doe^Jane", "PID0047110", "19450209", ("Doe^Jane",)),
    Person("Müller^Hans", "PID0815332", "19700131", ("Mueller_Hans_19700131",)),
    Person("Öztürk^Ayşe", "AZ-77-4433", "19620415", ("Oeztuerk, Ayse",)),
    Person("NGUYEN^VAN ANH", "20113377", "19881124", ("Nguyen_VanAnh_visit1", "visit2 of Nguyen")),
    Person("Kovács^László", "PID0099887", "19910605", (unicodedata.normalize("NFD", "kovács-lászló (05.06.1991)"),)),
    Person("O'Brien^Seán", "PID0064422", "19550712", ("OBrien Sean AZ774433",)),
)
WITHOUT_TUMOUR = "PID0099887"


def identified(person: Person) -> Callable[[int, Dataset], None]:
    """What writes a patient into the headers of a series."""

    def change(_: int, dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for field, value in zip(FIELDS, (person.name, person.number, person.born), strict=True):
            setattr(dataset, field, value)

    return change


def masks_of(number: int) -> dict[str, np.ndarray]:
    """Liver and tumour (columns, rows, slices), which overlap in part; not symmetric, elsewhere in every scan."""
    liver, tumour = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    liver[3 + number : 12 + number, 2:13, 1:4] = True
    tumour[8 + number : 15 + number, 4 + number : 9 + number, 2:4] = True
    return {"liver": liver, "tumour": tumour}


def scan_of(number: int, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Hounsfield units (columns, rows, slices)."""
    scan = np.random.default_rng(number).normal(-20, 15, SHAPE)
    for mask, value in zip(masks.values(), (80, 60), strict=False):
        scan[mask] += value
    return scan.astype(np.int16)


@dataclass(frozen=True)
class Scan:
    """One scan of the study, as it was written."""

    folder: Path
    person: Person
    array: np.ndarray
    masks: dict[str, np.ndarray]

    @property
    def series(self) -> Path:
        """The folder of the CT series."""
        return self.folder / "CT"


def write_study(root: Path, kind: str, people: Iterable[Person] = PEOPLE) -> list[Scan]:
    """Write a study whose labels are "seg", "rtstruct" or "nifti" files; every scan has a scout besides."""
    scans: list[Scan] = []
    for person in people:
        for folder in person.folders:
            number = len(scans)
            masks = masks_of(number)
            if person.number == WITHOUT_TUMOUR:
                del masks["tumour"]
            scans.append(Scan(root / folder, person, scan_of(number, masks), masks))
            write_scan(scans[-1], kind)
    return scans


def write_scan(scan: Scan, kind: str) -> None:
    """File names are out of order and without suffix, as archives write them."""
    change = identified(scan.person)
    names = [3, 0, 5, 1, 4, 2]
    write_series(scan.series, scan.array, AFFINE, change=change, description=CHEST, names=lambda k: f"IM{names[k]:04d}")
    scout = np.zeros((24, 24, 2), np.int16)
    write_series(scan.folder / "scout", scout, AFFINE, change=change, description="localiser", names="S{}".format)
    if kind == "nifti":
        label_map = sum(value * scan.masks[name] for value, name in ((1, "liver"), (2, "tumour")) if name in scan.masks)
        label_map = np.minimum(label_map, 2).astype(np.uint8)
        nib.save(nib.Nifti1Image(label_map, AFFINE), scan.folder / "label.nii.gz")
    elif kind == "seg":
        write_seg(scan.folder / "seg.dcm", scan.series, scan.masks)
    else:
        write_structures(scan.folder / "rt.dcm", scan.series, scan.masks)


def write_seg(path: Path, series: Path, masks: dict[str, np.ndarray], *, keep_empty: bool = False) -> Path:
    """Write a DICOM SEG with highdicom, which wants (slices, rows, columns, segments)."""
    sources = sorted((pydicom.dcmread(one) for one in series.iterdir()), key=lambda one: one.ImagePositionPatient[2])
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1).astype(np.uint8)
    manual = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    segmentation = hd.seg.Segmentation(
        source_images=sources, pixel_array=pixels, segmentation_type="BINARY", omit_empty_frames=not keep_empty,
        segment_descriptions=[
            hd.seg.SegmentDescription(n, name, codes.SCT.Tissue, codes.SCT.Tissue, manual)
            for n, name in enumerate(masks, start=1)
        ],
        series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="m", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    segmentation.SpecificCharacterSet = "ISO_IR 192"
    segmentation.save_as(path)
    return path


def write_structures(path: Path, series: Path, masks: dict[str, np.ndarray]) -> Path:
    """Write an RTSTRUCT with rt-utils, which wants (rows, columns, slices); it prints, and warns."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        builder = RTStructBuilder.create_new(dicom_series_path=str(series))
        for name, mask in masks.items():
            builder.add_roi(mask=mask.transpose(1, 0, 2), name=name)
        builder.ds.SpecificCharacterSet = "ISO_IR 192"
        builder.save(str(path))
    return path


# ---- looking for patients ------------------------------------------------------------------------------

ASCII = str.maketrans({"ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss"})


def secrets_of(people: Iterable[Person] = PEOPLE) -> set[str]:
    """Every part of every identity in the spellings that people use, in small letters."""
    secrets = set()
    for person in people:
        words = [word for word in re.split(r"[\^ ]", person.name.lower()) if word]
        words += [word.replace("'", "") for word in words]
        for word in words:
            bare = "".join(one for one in unicodedata.normalize("NFD", word) if not unicodedata.combining(one))
            secrets |= {word, word.translate(ASCII), bare}
        year, month, day = person.born[:4], person.born[4:6], person.born[6:]
        secrets |= {person.number.lower(), person.number.lower().replace("-", ""), person.born}
        secrets |= {f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{int(day)}.{int(month)}.{year}"}
        secrets |= {f"{day}{month}{year}", f"{month}/{day}/{year}", f"{day}{month}{year[2:]}"}
    return secrets


def named_in(text: str, people: Iterable[Person] = PEOPLE) -> set[str]:
    """Which secrets stand in a text; up to three letters only as words.

    Six digits stand in digests, packed numbers, fractions, times in nanoseconds and UIDs by chance: these are left out.
    """
    text = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)
    text = re.sub(r"[A-Za-z0-9+/=]{40,}", " ", unicodedata.normalize("NFC", text)).lower()
    text = re.sub(r"\d\.\d{7,}|\d{16,}", " ", text)
    patterns = {one: re.escape(one) for one in secrets_of(people)}
    patterns = {one: rf"(?<![^\W\d_]){p}(?![^\W\d_])" if len(one) < 4 else p for one, p in patterns.items()}
    return {one for one, pattern in patterns.items() if re.search(pattern, text)}


def named_below(folder: Path, people: Iterable[Person] = PEOPLE) -> dict[str, set[str]]:
    """{path: secrets} of all files below a folder, their names and (unpacked) contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        secrets = named_in(name, people) | (named_in(_text_of(path), people) if path.is_file() else set())
        if secrets:
            found[name] = secrets
    return found


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix in (".html", ".json", ".jsonl", ".yaml", ".csv", ".log", ".txt"):
        return content.decode()
    return "\n".join(_strings(content))


def _strings(content: bytes) -> Iterator[str]:
    """Runs of text in binary data."""
    yield from (run.decode() for run in re.findall(rb"[ -~]{4,}", content))
