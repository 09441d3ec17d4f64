"""A phantom study: seeded, small volumes with two structures, for demonstrations and tests.

Each volume shows a body with an organ (a deformed ellipsoid) and, in four of five cases, a lesion inside it.
A distractor nearly as bright as the lesion lies outside the organ, and a smooth multiplicative bias field and
noise keep a threshold from finding anything. Design and code are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgmed.formats import write_volume
from imgmed.geometry import Orientation, from_canonical
from imgmed.volume import Volume
from r2d2_base.files import write_json
from r2d2_base.folders import staged_folder
from r2d2_base.progress import Progress, StopRequest, Watcher

__all__ = ["write_phantom_study"]

LABELS = {"0": "background", "1": "organ", "2": "lesion"}
SPACING_MM = (1.0, 1.0, 3.0)
BODY, ORGAN, LESION, DISTRACTOR = 300.0, 400.0, 560.0, 500.0  # mean intensities before bias and noise
NOISE = 28.0
BIAS = 0.35
WITHOUT_LESION = 5  # one case in so many


def write_phantom_study(
    folder: Path | str,
    cases: int = 24,
    seed: int = 0,
    shape: tuple[int, int, int] = (48, 64, 18),
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Path:
    """Write a phantom study in the layout of the Medical Segmentation Decathlon.

    Args:
        folder: folder to be made; it must not exist, or be empty.
        cases: number of volumes, at least 3; one in five has no lesion.
        seed: the same seed gives the same bytes.
        shape: largest (right, anterior, superior) size in voxels, at least (32, 32, 8); volumes are up to an
            eighth smaller, a third is stored left-posterior, a third has another in-plane spacing.
        progress: called with ("phantom", done, total).
        stop: ends the work where it is made; nothing of the study is left.

    Returns:
        The folder, with dataset.json, imagesTr/ and labelsTr/; about 1 mm in the plane, 3 mm between slices.

    Raises:
        ValueError: too few cases or too small a shape.
        OutputExistsError: the folder holds something.
    """
    if cases < 3 or any(size < least for size, least in zip(shape, (32, 32, 8), strict=True)):
        raise ValueError(
            f"a phantom study needs at least 3 cases of at least 32 x 32 x 8 voxels; received {cases} of {shape}"
        )
    folder, watcher = Path(folder), Watcher(progress, stop)
    without = _cases_without_lesion(cases, seed)
    with staged_folder(folder) as staging:
        for part in ("imagesTr", "labelsTr"):
            (staging / part).mkdir()
        for number in range(cases):
            _write_case(staging, number, seed, shape, number not in without)
            watcher.report("phantom", number + 1, cases)
        write_json(staging / "dataset.json", _index(cases))
    return folder


def _cases_without_lesion(cases: int, seed: int) -> set[int]:
    order = np.random.default_rng([seed, cases]).permutation(cases)
    return set(order[: cases // WITHOUT_LESION].tolist())


def _write_case(folder: Path, number: int, seed: int, shape: tuple[int, int, int], with_lesion: bool) -> None:
    rng = np.random.default_rng([seed, number])
    frame = _draw_frame(number, shape, rng)
    anatomy = _draw_anatomy(frame, shape, with_lesion, rng)
    affine, orientation = _storage_order(frame, number)
    for part, array in (("imagesTr", _image_of(anatomy, frame, rng)), ("labelsTr", anatomy.label)):
        stored = np.ascontiguousarray(from_canonical(array, orientation))
        write_volume(folder / part / f"{_case_name(number)}.nii.gz", Volume(stored, affine))


@dataclass(frozen=True)
class _Frame:
    """Voxel grid of one case, axes right, anterior, superior."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Millimetres from the middle of the volume, broadcastable along the three axes."""
        r, a, s = (
            (np.arange(size) - (size - 1) / 2) * spacing
            for size, spacing in zip(self.shape, self.spacing_mm, strict=True)
        )
        return r[:, None, None], a[None, :, None], s[None, None, :]


@dataclass(frozen=True)
class _Anatomy:
    """What a case consists of: masks and the label map, (r, a, s) each."""

    body: np.ndarray
    distractor: np.ndarray
    label: np.ndarray


def _draw_frame(number: int, shape: tuple[int, int, int], rng: np.random.Generator) -> _Frame:
    # Every third case has another in-plane spacing; the volume never covers more than `shape` at SPACING_MM,
    # and the median spacing stays SPACING_MM, so that prepared slices fit into `shape`.
    factor = (1.0, 1.0, rng.choice([0.92, 1.08]))[number % 3]
    r, a, s = (int(size - rng.integers(0, size // 8 + 1)) for size in shape)
    spacing = (SPACING_MM[0] * factor, SPACING_MM[1] * factor, SPACING_MM[2])
    return _Frame((int(r / factor), int(a / factor), s), spacing)


def _storage_order(frame: _Frame, number: int) -> tuple[np.ndarray, Orientation]:
    """Affine and orientation of the array as it is stored: every third case left-posterior-superior."""
    orientation = Orientation((0, 1, 2), (True, True, False) if number % 3 == 1 else (False, False, False))
    canonical = np.diag([*frame.spacing_mm, 1.0])
    canonical[:3, 3] = [-(size - 1) / 2 * spacing for size, spacing in zip(frame.shape, frame.spacing_mm, strict=True)]
    # Flipping axes is its own inverse, so the way back from canonical order is the same product.
    flip = np.diag([-1.0 if flipped else 1.0 for flipped in (*orientation.flips, False)])
    flip[:3, 3] = [size - 1 if flipped else 0 for size, flipped in zip(frame.shape, orientation.flips, strict=True)]
    return canonical @ flip, orientation


def _draw_anatomy(frame: _Frame, shape: tuple[int, int, int], with_lesion: bool, rng: np.random.Generator) -> _Anatomy:
    field = np.array(shape) * SPACING_MM
    shift = rng.uniform(-0.03, 0.03, 3) * field
    body = _ellipsoid(frame, shift, np.array([0.43, 0.44, 0.75]) * field, rng, 0.03)
    organ_centre = shift + field * [
        rng.uniform(-0.08, 0.05),
        rng.uniform(-0.14, -0.06),
        rng.uniform(-0.06, 0.06),
    ]
    organ_radii = field * [0.25, 0.23, 0.30] * rng.uniform(0.85, 1.12, 3)
    organ = body & _ellipsoid(frame, organ_centre, organ_radii, rng, 0.12)
    radius = min(field[:2]) * rng.uniform(0.105, 0.135)
    radii = np.array([radius, radius, 1.5 * radius])
    offset = rng.uniform(-1, 1, 3)
    offset *= 0.45 / max(1.0, float(np.linalg.norm(offset)))
    lesion = organ & _ellipsoid(frame, organ_centre + offset * organ_radii, radii * rng.uniform(0.9, 1.1, 3), rng, 0.08)
    aside = shift + field * [rng.uniform(-0.1, 0.1), rng.uniform(0.27, 0.31), rng.uniform(-0.2, 0.2)]
    distractor = body & ~organ & _ellipsoid(frame, aside, 0.75 * radii * rng.uniform(0.9, 1.1, 3), rng, 0.08)
    label = organ.astype(np.uint8)
    if with_lesion:
        label[lesion] = 2
    return _Anatomy(body, distractor, label)


def _ellipsoid(
    frame: _Frame, centre: np.ndarray, radii: np.ndarray, rng: np.random.Generator, deformation: float
) -> np.ndarray:
    """Mask of an ellipsoid whose radius varies with direction by up to about `deformation`."""
    r, a, s = (
        (position - middle) / radius for position, middle, radius in zip(frame.positions, centre, radii, strict=True)
    )
    angle, height = np.arctan2(a, r), np.tanh(s)
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * angle + phases[0]) + np.sin(3 * angle + phases[1]) + np.sin(angle + 2 * height + phases[2])
    mask: np.ndarray = np.sqrt(r**2 + a**2 + s**2) <= 1 + deformation * waves / 2
    return mask


def _image_of(anatomy: _Anatomy, frame: _Frame, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    clean = np.where(anatomy.body, BODY, 0.0)
    clean[anatomy.label == 1] = ORGAN
    clean[anatomy.label == 2] = LESION
    clean[anatomy.distractor] = DISTRACTOR
    texture = gaussian_filter(rng.normal(size=frame.shape), (3, 3, 1))
    clean *= 1 + 0.04 * texture / texture.std()
    blurred = gaussian_filter(clean, (0.6, 0.6, 0.2))
    noisy = blurred * _bias_field(frame, rng) + rng.normal(0, NOISE, frame.shape)
    other = rng.normal(0, NOISE, frame.shape)
    # The magnitude of a complex signal: noise as an MR scanner makes it (Rician).
    return np.rint(np.hypot(noisy, other)).astype(np.uint16)


def _bias_field(frame: _Frame, rng: np.random.Generator) -> np.ndarray:
    """A smooth factor between 1 - BIAS and 1 + BIAS: a random polynomial of second degree."""
    r, a, s = (position / max(1.0, float(np.abs(position).max())) for position in frame.positions)
    terms = (r, a, s, r * a, a * s, r * s, r**2, a**2, s**2)
    field = sum(weight * term for weight, term in zip(rng.normal(size=len(terms)), terms, strict=True))
    field = field - np.mean(field)
    return 1 + BIAS * field / np.abs(field).max()


def _case_name(number: int) -> str:
    return f"phantom_{number:03d}"


def _index(cases: int) -> dict[str, object]:
    names = [_case_name(number) for number in range(cases)]
    return {
        "name": "Phantom",
        "description": "Generated volumes with an organ and a lesion; no patient was scanned",
        "reference": "R2D2 phantom generator",
        "licence": "CC0-1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": LABELS,
        "numTraining": cases,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": [],
    }
