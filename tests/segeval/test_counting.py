"""The compiled counting against NumPy's `add.at` and a loop: every type, length, place, start and memory order."""

import itertools
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segeval
from segeval.confusion import confusion_of_labels
from segeval.counting import chunks_of, count_pairs

pytestmark = pytest.mark.slow

REPOSITORY = Path(segeval.__file__).resolve().parent.parent
INTEGERS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]
BLOCK = 64  # voxels that the kernel marks at once


def expected_counts(reference, prediction, num_classes, ignore_label=None):
    counts = np.zeros((num_classes, num_classes), np.int64)
    counted = np.ones(reference.shape, bool) if ignore_label is None else reference != ignore_label
    np.add.at(counts, (reference[counted].astype(np.intp), prediction[counted].astype(np.intp)), 1)
    return counts


def in_runs(rng, voxels, num_classes, mean_length):
    """Two maps with runs of a mean length; 1: noise."""
    maps = []
    for _ in range(2):
        lengths = rng.geometric(1 / mean_length, voxels + 1)
        maps.append(np.repeat(rng.integers(0, num_classes, voxels + 1), lengths)[:voxels])
    return maps


@pytest.mark.parametrize("mean_length", [1, 7, 100])
def test_every_pair_of_types(mean_length):
    maps = in_runs(np.random.default_rng(1), 1000, 2, mean_length)
    expected = expected_counts(*maps, 2).tolist()
    for first, second in itertools.product([*INTEGERS, "?"], repeat=2):
        counts = segeval.confusion_matrix(maps[0].astype(first), maps[1].astype(second), 2)
        assert counts.tolist() == expected, (first, second)


@pytest.mark.parametrize("dtype", ["u1", "?"])
def test_two_classes_in_bytes_of_every_length_and_start(dtype):
    """Eight voxels are one word, 31 words one sum: lengths and starts around both, and maps of ones alone."""
    lengths = (*range(18), *range(240, 258), 31 * 8 * 3 + 5, 5000)
    maps = [label_map.astype(dtype) for label_map in in_runs(np.random.default_rng(5), 5020, 2, 5)]
    ones = np.ones(5020, dtype)
    for length, begin, other in itertools.product(lengths, (0, 1, 7), (0, 3)):
        for reference, prediction in ([maps[0], maps[1]], [ones, maps[1]], [ones, ones]):
            pair = reference[begin : begin + length], prediction[other : other + length]
            np.testing.assert_array_equal(segeval.confusion_matrix(*pair, 2), expected_counts(*pair, 2))


@pytest.mark.parametrize("value", [2, 3, 128, 254, 255])
def test_a_byte_that_is_no_class_is_found_anywhere(value):
    for place, length in itertools.product((0, 5, 247, 248, 499, 503), (504, 507)):
        reference, prediction = np.ones(length, np.uint8), np.ones(length, np.uint8)
        for label_map in (reference, prediction):
            label_map[place] = value
            with pytest.raises(segeval.LabelRangeError, match=f"received {value}"):
                segeval.confusion_matrix(reference, prediction, 2)
            label_map[place] = 1


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_length_and_start(dtype):
    """Lengths around one and two blocks, starts at each voxel of a word."""
    maps = [label_map.astype(dtype) for label_map in in_runs(np.random.default_rng(2), 3 * BLOCK, 3, 5)]
    for length, begin, other in itertools.product((*range(10), *range(60, 70), *range(125, 132)), range(9), (0, 3)):
        reference, prediction = maps[0][begin : begin + length], maps[1][other : other + length]
        np.testing.assert_array_equal(
            segeval.confusion_matrix(reference, prediction, 3), expected_counts(reference, prediction, 3)
        )


@given(
    st.integers(1, 300),
    st.integers(0, 400),
    st.sampled_from([1, 3, 40, 500]),
    st.sampled_from(["u2", "i2", ">i2", "u4", ">u8", "i8"]),
    st.integers(0, 2**32),
)
def test_any_number_of_classes(num_classes, voxels, mean_length, dtype, seed):
    maps = in_runs(np.random.default_rng(seed), voxels, num_classes, mean_length)
    counts = segeval.confusion_matrix(maps[0].astype(dtype), maps[1].astype("u2"), num_classes)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected_counts(*maps, num_classes))


@pytest.mark.parametrize("mean_length", [1, 30])
def test_all_labels_of_a_type_and_more_classes_than_have_lanes(mean_length):
    for num_classes in (*range(1, 66), 127, 128, 129, 255, 256, 257, 300):
        maps = in_runs(np.random.default_rng(num_classes), 2000, num_classes, mean_length)
        smallest = np.min_scalar_type(num_classes - 1)
        counts = segeval.confusion_matrix(maps[0].astype(smallest), maps[1].astype(smallest), num_classes)
        np.testing.assert_array_equal(counts, expected_counts(*maps, num_classes), str(num_classes))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_label_that_is_not_declared_is_found_wherever_it_lies(dtype):
    voxels, limits = 2 * BLOCK + 3, np.iinfo(dtype)
    clean = np.zeros(voxels, dtype)
    clean[40:90] = 1
    for wrong, place in itertools.product({limits.min, 2, 3, 100, limits.max} - {0}, range(voxels)):
        faulty = clean.copy()
        faulty[place] = wrong
        for name, maps in (("reference", (faulty, clean)), ("prediction", (clean, faulty))):
            with pytest.raises(segeval.LabelRangeError, match=rf"{name} must lie in 0 to 1 .*received {wrong}$"):
                segeval.confusion_matrix(*maps, 2)


@pytest.mark.parametrize("ignore_label", [0, 1, 2, 3, 255, -1, 65535, 2**31, -(2**63), 2**64 - 1])
def test_ignored_voxels_count_nowhere_whatever_is_predicted(ignore_label):
    """Also where no voxel of that type can have the ignored label: then it must not stand for another."""
    for dtype in INTEGERS:
        limits, rng = np.iinfo(dtype), np.random.default_rng(3)
        reference, prediction = (label_map.astype(dtype) for label_map in in_runs(rng, 1000, 3, 4))
        if limits.min <= ignore_label <= limits.max:
            hidden = rng.random(1000) < 0.3
            reference[hidden], prediction[hidden] = ignore_label, limits.max
            prediction[reference == ignore_label] = limits.max
        expected = expected_counts(reference, prediction, 3, ignore_label)
        np.testing.assert_array_equal(segeval.confusion_matrix(reference, prediction, 3, ignore_label), expected, dtype)


def test_an_ignored_label_must_be_an_integer():
    with pytest.raises(segeval.MetricArgumentError, match=r"ignore_label must be an integer, or None; received 1\.5"):
        segeval.confusion_matrix([0], [0], 2, ignore_label=1.5)


@given(st.sets(st.integers(0, 1000), min_size=1, max_size=40), st.sampled_from(["i2", "u4", ">i8"]), st.integers(0, 99))
def test_labels_that_are_any_integers(values, dtype, seed):
    rng, class_values = np.random.default_rng(seed), sorted(values)
    maps = in_runs(rng, 300, len(class_values), 5)
    labels = [np.array(class_values, dtype)[classes] for classes in maps]
    counts = confusion_of_labels(*labels, class_values)
    np.testing.assert_array_equal(counts, expected_counts(*maps, len(class_values)))


def test_the_largest_label():
    assert confusion_of_labels([0, 65535, 65535], [0, 65535, 0], (0, 65535)).tolist() == [[1, 0], [1, 1]]


@given(
    st.permutations(range(3)),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([1, -1, 2, -2])] * 3),
    st.sampled_from(["u1", ">u2", "<i4", ">i8"]),
)
def test_every_memory_order(axes, other_axes, steps, dtype):
    reference, prediction = np.random.default_rng(4).integers(0, 3, (2, 6, 7, 8)).astype(dtype)
    view = tuple(slice(None, None, step) for step in steps)
    reference, prediction = (
        np.ascontiguousarray(label_map.transpose(order)).transpose(np.argsort(order))[view]
        for label_map, order in ((reference, axes), (prediction, other_axes))
    )
    np.testing.assert_array_equal(
        segeval.confusion_matrix(reference, prediction, 3), expected_counts(reference, prediction, 3)
    )


def test_voxels_that_do_not_begin_at_a_word():
    labels = np.random.default_rng(5).integers(0, 3, 500).astype("i4")
    unaligned = np.frombuffer(b"\0" + labels.tobytes(), "i4", offset=1)
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(segeval.confusion_matrix(unaligned, labels, 3), expected_counts(labels, labels, 3))


def test_read_only_maps_and_single_voxels():
    label_map = np.zeros((3, 0, 2), np.uint8)
    assert segeval.confusion_matrix(label_map, label_map, 2).tolist() == [[0, 0], [0, 0]]
    voxel = np.array(1)
    voxel.flags.writeable = False
    assert segeval.confusion_matrix(voxel, voxel, 2).tolist() == [[0, 0], [0, 1]]


def test_more_than_32_bits_of_voxels():
    """2**32 + 2**16 voxels, in a map that takes one page: every stride is 0, so it is read a chunk at a time."""
    voxels = np.broadcast_to(np.uint8(1), (2**16 + 1, 2**16))
    assert segeval.confusion_matrix(voxels, voxels, 2).tolist() == [[0, 0], [0, 2**32 + 2**16]]


def test_chunks_cover_every_voxel_once():
    reference = np.arange(300_000, dtype=">i4")[::-1]
    chunks = [(a.copy(), b.copy()) for a, b in chunks_of(reference, np.arange(300_000))]
    assert len(chunks) > 2
    firsts, seconds = (np.concatenate(side) for side in zip(*chunks, strict=True))
    assert np.sort(firsts).tolist() == list(range(300_000))
    assert (firsts + seconds == 299_999).all()


def count_seeded(seed):
    maps = in_runs(np.random.default_rng(seed), 50_000, 5, 6)
    return count_pairs(*maps, 5)[0].tolist()


@pytest.mark.parametrize(
    "pool",
    [
        lambda: ThreadPoolExecutor(8),
        lambda: ProcessPoolExecutor(2, multiprocessing.get_context("fork")),
        lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
    ],
    ids=["threads", "forked", "spawned"],
)
def test_threads_and_processes_count_alike(pool):
    with pool() as workers:
        found = list(workers.map(count_seeded, range(40)))
    assert found == [expected_counts(*in_runs(np.random.default_rng(s), 50_000, 5, 6), 5).tolist() for s in range(40)]


def test_one_sentence_where_it_is_not_built(tmp_path):
    for package in ("segeval", "r2d2_base"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("_counting*"))
    done = subprocess.run(
        [sys.executable, "-c", "from segeval import dice"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "CountingNotBuiltError: segeval's counting must be compiled: run make install" in done.stderr


def test_the_source_compiles_without_a_warning(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    options = ["-std=c99", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fPIC", "-shared"]
    source = REPOSITORY / "segeval" / "_counting.c"
    done = subprocess.run([compiler, *options, "-o", tmp_path / "counting.so", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
