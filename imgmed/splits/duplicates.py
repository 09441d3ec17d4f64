"""Cases that hold the same image content: coarse fingerprints nominate pairs, all voxels confirm them.

Found whatever the copy is called, however it is stored (format, compression, datatype, voxel order with the header
changed along) and however its intensities were shifted, rescaled, inverted or rounded; its label map plays no part.
Not found: copies that were cropped, padded, resampled or smoothed, whose intensities were bent (strong clipping,
equalisation), or whose header tells a wrong orientation.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.errors import InvalidVolumeError
from imgmed.geometry import orientation_of, to_canonical
from imgmed.volume import Volume

__all__ = ["Duplicate", "Signature", "confirm", "describe", "is_same_label_map", "nominate", "signature_of"]

SAME_CONTENT = 0.999  # |r| over all voxels, at least
SAME_RANKS = 0.9  # rank correlation within the picture, at least: tolerates five grey levels, not another scan
NOMINATED = 0.995  # |r| of fingerprints, at least: five times the unexplained variance of SAME_CONTENT
MOST_BLOCKS = 1728  # 12 x 12 x 12
SUMMED_VOXELS = 2**18  # summed at a time
ROUNDING = 1e-7  # a correlation this close to 1 is 1, but for the sums' rounding
CONSTANT = 1e-9  # a spread below this part of the mean is rounding
RANKED_VOXELS = 1_000_000
FEWEST_RANKED = 30
SLAB_VOXELS = 1 << 20
BLOCK_ENTRIES = 1 << 24


class Signature(BaseModel):
    """Coarse fingerprint of a volume: block means in canonical orientation, blind to linear intensity changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int] = Field(description="Voxels along right, anterior, superior.")
    channels: tuple[str, ...] = Field(
        description="Per channel the block means as base64 of little-endian float16, mean 0 and standard deviation 1;"
        " empty: a constant channel."
    )

    def vectors(self) -> np.ndarray:
        """Return (channels that are not constant, blocks) float32, each of mean 0 and length 1."""
        packed = [base64.b64decode(text) for text in self.channels if text]
        means = np.array([np.frombuffer(data, "<f2") for data in packed], np.float32)
        return means / np.linalg.norm(means, axis=-1, keepdims=True) if packed else np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Duplicate:
    """Two cases with the same image content.

    `correlation` is Pearson's r over all voxels (of the worst matching channel; negative: inverted intensities);
    `same_labels` is None where they were not compared; `same_file`: the images are the same bytes.
    """

    first: str
    second: str
    correlation: float
    same_labels: bool | None
    same_file: bool

    @property
    def pair(self) -> tuple[str, str]:
        """The two case ids."""
        return self.first, self.second


def signature_of(volume: Volume) -> Signature:
    """Return the fingerprint of a volume, in one pass over its voxels.

    Each channel is averaged over at most 1728 blocks of equal size (12 x 12 x 12 of a scan, 41 x 41 of a picture),
    so that every voxel counts and rounding averages out.

    Args:
        volume: (i, j, k) or (i, j, k, channels), finite, any orientation.

    Raises:
        InvalidVolumeError: NaN or infinite voxels.

    >>> ramp = np.arange(60.0).reshape(3, 4, 5)
    >>> signature_of(Volume(ramp, np.eye(4))) == signature_of(Volume(7 - 2 * ramp[::-1], np.diag([-1.0, 1, 1, 1])))
    False
    >>> signature_of(Volume(ramp, np.eye(4))) == signature_of(Volume(7 + 2 * ramp[::-1], np.diag([-1.0, 1, 1, 1])))
    True
    """
    array = _canonical_channels(volume)
    means = _block_means(array)
    if not np.isfinite(means).all():
        raise InvalidVolumeError(f"{volume.origin}: NaN or infinite voxels have no fingerprint; replace them")
    channels = []
    for channel in np.moveaxis(means, 3, 0):
        spread = channel.std()
        constant = spread <= CONSTANT * np.abs(channel).max()
        packed = b"" if constant else ((channel - channel.mean()) / spread).astype("<f2").tobytes()
        channels.append(base64.b64encode(packed).decode())
    right, anterior, superior = array.shape[:3]
    return Signature(shape=(right, anterior, superior), channels=tuple(channels))


def nominate(signatures: Mapping[str, Signature]) -> list[tuple[str, str]]:
    """Return the pairs of cases that may hold the same image content, sorted; only `confirm` can tell.

    Candidates have the same canonical shape, and every channel of one case resembles (|r| >= 0.995 of the
    fingerprints) some channel of the other. Constant channels are left out, so a case of which all channels are
    constant is never nominated.

    Args:
        signatures: {case_id: signature}.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 8, 8, 8))
    >>> nominate({n: signature_of(Volume(x, np.eye(4))) for n, x in {"a": a, "b": b, "c": 3 - 2 * a}.items()})
    [('a', 'c')]
    """
    by_shape: dict[tuple[int, int, int], dict[str, np.ndarray]] = {}
    for case_id in sorted(signatures):
        vectors = signatures[case_id].vectors()
        if len(vectors):
            by_shape.setdefault(signatures[case_id].shape, {})[case_id] = vectors
    return sorted(pair for cases in by_shape.values() for pair in _alike(list(cases), list(cases.values())))


def confirm(
    read: Callable[[str], Volume],
    pairs: Iterable[tuple[str, str]],
    *,
    same_labels: Callable[[str, str], bool | None] | None = None,
    contents: Mapping[str, Hashable] | None = None,
) -> tuple[Duplicate, ...]:
    """Compare nominated pairs voxel by voxel in canonical orientation and return those with the same content.

    A channel is the copy of another if |Pearson's r| over all voxels is at least 0.999 and, lest a common
    background or marker decides alone, the rank correlation of the voxels outside both backgrounds (the most
    frequent value of each) is at least 0.9 in the same direction. Two cases are duplicates if this holds for every
    channel that is not constant of one of them, with some channel of the other: channels may be in another order,
    and one case may have blank ones.

    At most two volumes are held at a time. A pair whose cases are both known copies of a third is not read again.

    Args:
        read: case_id -> image, any voxel order.
        pairs: candidates, as `nominate` returns them.
        same_labels: whether two duplicates have the same labels; None: not compared (see `is_same_label_map`).
        contents: {case_id: what its image bytes are known by}, such as SHA-256 and entry; equal ones are the same file.

    >>> scan = np.random.default_rng(0).normal(100, 20, (8, 8, 8))
    >>> volumes = {"a": Volume(scan, np.eye(4)), "b": Volume((scan / 2).astype(np.uint8), np.eye(4))}
    >>> [(d.first, d.second, round(d.correlation, 4)) for d in confirm(volumes.__getitem__, [("a", "b")])]
    [('a', 'b', 0.9996)]
    """
    pairs = sorted({(min(pair), max(pair)) for pair in pairs})
    cluster = {case_id: case_id for pair in pairs for case_id in pair}
    contents = contents or {}
    held: dict[str, Volume] = {}
    found = []
    for first, second in pairs:
        if cluster[first] == cluster[second]:
            continue
        held = {case_id: volume for case_id, volume in held.items() if case_id in (first, second)}
        for case_id in (first, second):
            if case_id not in held:
                held[case_id] = read(case_id)
        correlation = _shared_content(_canonical_channels(held[first]), _canonical_channels(held[second]))
        if correlation is None:
            continue
        joined = cluster[second]
        cluster = {name: cluster[first] if known == joined else known for name, known in cluster.items()}
        found.append(
            Duplicate(
                first=first,
                second=second,
                correlation=correlation,
                same_labels=same_labels(first, second) if same_labels else None,
                same_file=first in contents and contents[first] == contents.get(second),
            )
        )
    return tuple(found)


def is_same_label_map(first: Volume, second: Volume) -> bool:
    """Tell whether two label maps agree in every voxel, in canonical orientation.

    >>> labels = np.arange(8).reshape(2, 2, 2)
    >>> is_same_label_map(Volume(labels, np.eye(4)), Volume(labels[:, ::-1], np.diag([1.0, -1, 1, 1])))
    True
    """
    return np.array_equal(_canonical_channels(first), _canonical_channels(second))


def describe(duplicate: Duplicate, files: Mapping[str, Sequence[str]]) -> str:
    """Return the sentence that tells a user about a duplicate.

    Args:
        duplicate: what `confirm` found.
        files: {case_id: names of its source files}.

    >>> files = {"a": ["imagesTr/a.nii.gz"], "b": ["imagesTr/b.nii"]}
    >>> print(describe(Duplicate("a", "b", 0.99997, False, False), files))
    a (imagesTr/a.nii.gz) and b (imagesTr/b.nii) hold the same image content (r = 0.99997); their labels DIFFER
    """
    first, second = (f"{case_id} ({', '.join(files[case_id])})" for case_id in duplicate.pair)
    how = "the same bytes" if duplicate.same_file else f"r = {_shown(duplicate.correlation)}"
    labels = {None: "", True: "; their labels agree", False: "; their labels DIFFER"}[duplicate.same_labels]
    return f"{first} and {second} hold the same image content ({how}){labels}"


def _shown(correlation: float) -> str:
    """Five digits, but never 1 for what is less."""
    digits = 1.0 if 1 - abs(correlation) < ROUNDING else int(abs(correlation) * 1e5) / 1e5
    return f"{np.copysign(digits, correlation):g}"


def _canonical_channels(volume: Volume) -> np.ndarray:
    """A view (right, anterior, superior, channels)."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    return to_canonical(array, orientation_of(volume.affine))


def _block_means(array: np.ndarray) -> np.ndarray:
    """(r, a, s, channels) float64 means over at most MOST_BLOCKS blocks."""
    shape = array.shape[:3]
    most = bisect_right(range(1, MOST_BLOCKS + 1), MOST_BLOCKS, key=lambda m: prod(min(m, size) for size in shape))
    starts = [np.arange(min(most, size)) * size // min(most, size) for size in shape]
    first, second, last = sorted(range(3), key=lambda axis: abs(array.strides[axis]))  # contiguous runs: fewest misses
    parts = []
    step = max(1, SUMMED_VOXELS * shape[last] // array.size)
    for start in range(0, shape[last], step):  # some planes at a time: no float64 copy of the volume
        part = array[tuple(slice(start, start + step) if axis == last else slice(None) for axis in range(3))]
        part = np.add.reduceat(part, starts[first], axis=first, dtype=np.float64)
        parts.append(np.add.reduceat(part, starts[second], axis=second))
    sums = np.add.reduceat(np.concatenate(parts, axis=last), starts[last], axis=last)
    i, j, k = (np.diff(edges, append=size) for edges, size in zip(starts, shape, strict=True))
    return sums / (i[:, None, None, None] * j[:, None, None] * k[:, None])


def _alike(names: Sequence[str], vectors: Sequence[np.ndarray]) -> Iterator[tuple[str, str]]:
    """Pairs of cases of which every channel of one resembles a channel of the other."""
    stacked = np.concatenate(vectors)
    starts = np.cumsum([0, *(len(channels) for channels in vectors)])
    first = 0
    while first < len(names):
        rows = max(1, BLOCK_ENTRIES // len(stacked))
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + rows, side="right")) - 1)
        begin, end = starts[first], starts[last]
        similar = np.abs(stacked[begin:end] @ stacked[begin:].T) >= NOMINATED
        own, others = starts[first:last] - begin, starts[first:-1] - begin
        by_channel = np.logical_or.reduceat(similar, others, axis=1)
        forth = np.logical_and.reduceat(by_channel, own, axis=0)
        by_channel = np.logical_or.reduceat(similar, own, axis=0)
        back = np.logical_and.reduceat(by_channel, others, axis=1)
        for row, column in zip(*np.nonzero(np.triu(forth | back, k=1)), strict=True):
            yield names[first + row], names[first + column]
        first = last


def _shared_content(first: np.ndarray, second: np.ndarray) -> float | None:
    """The correlation of the worst matching channel if one array (r, a, s, channels) is held in the other."""
    if first.shape[:3] != second.shape[:3]:
        return None
    table = _correlations(first, second)
    for one, other, rows in ((first, second, table), (second, first, table.T)):
        varying = np.flatnonzero(np.isfinite(rows).any(axis=1))
        partners = {int(row): int(np.nanargmax(np.abs(rows[row]))) for row in varying}
        found = [float(rows[pair]) for pair in partners.items()]
        if not found or min(map(abs, found)) < SAME_CONTENT:
            continue
        if all(_ranks_agree(one[..., row], other[..., column], rows[row, column]) for row, column in partners.items()):
            return min(found, key=abs)
    return None


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's r of every channel of one with every channel of the other; NaN for constant ones."""
    voxels = prod(first.shape[:3])
    means = [sum(slab.sum(axis=0) for slab in _slabs(array, array)) / voxels for array in (first, second)]
    squares = [np.zeros(first.shape[3]), np.zeros(second.shape[3])]
    products = np.zeros((first.shape[3], second.shape[3]))
    for x, y in zip(_slabs(first, first), _slabs(second, first), strict=True):
        x, y = x - means[0], y - means[1]
        squares[0] += (x * x).sum(axis=0)
        squares[1] += (y * y).sum(axis=0)
        products += x.T @ y
    spreads = [
        np.where(square <= voxels * (CONSTANT * mean) ** 2, np.nan, np.sqrt(square))
        for square, mean in zip(squares, means, strict=True)
    ]
    return np.clip(products / np.outer(*spreads), -1, 1)


def _slabs(array: np.ndarray, like: np.ndarray) -> Iterator[np.ndarray]:
    """(voxels, channels) float64 parts of `array`, cut across the axis along which `like` lies widest apart."""
    axis = int(np.argmax(np.abs(like.strides[:3])))
    turned = np.moveaxis(array, axis, 0)
    step = max(1, SLAB_VOXELS // prod(turned.shape[1:3]))
    for start in range(0, len(turned), step):
        yield turned[start : start + step].astype(np.float64).reshape(-1, array.shape[3])


def _ranks_agree(first: np.ndarray, second: np.ndarray, correlation: float) -> bool:
    """Whether the pictures agree outside their backgrounds, judged by the ranks of evenly spread voxels."""
    step = int(np.ceil((first.size / RANKED_VOXELS) ** (1 / 3)))
    x, y = (array[::step, ::step, ::step].ravel() for array in (first, second))
    inside = (x != _most_frequent(x)) & (y != _most_frequent(y))
    x, y = x[inside], y[inside]
    if len(x) < FEWEST_RANKED or (x == x[0]).all() or (y == y[0]).all():
        return True  # two grey levels: all voxels have said it already
    from scipy.stats import rankdata  # here: it takes a second to load, and copies are rare

    ranks = np.corrcoef(rankdata(x), rankdata(y))[0, 1]
    return bool(ranks * np.sign(correlation) >= SAME_RANKS)


def _most_frequent(values: np.ndarray) -> float:
    found, counts = np.unique(values, return_counts=True)
    return float(found[np.argmax(counts)])
