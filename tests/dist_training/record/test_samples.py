"""Sample predictions on disk: written and read, thinned out as a run grows, damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.errors import RunFolderError
from dist_training.record.samples import (
    MOST_EPOCHS,
    SampleDescription,
    SampleFolder,
    SampleSlice,
    SampleSlices,
    kept_epochs,
)


def slices(number: int = 3) -> SampleSlices:
    one = SampleSlice(case_id="a/b", number=number, of=9, pixel_mm=(1.5, 2.0))
    description = SampleDescription(labels={"background": 0, "organ": 7}, channels=("t1", "t2"), slices=(one,))
    scan = np.arange(24, dtype=np.uint8).reshape(3, 4, 2)
    return SampleSlices(description, (scan,), (np.full((3, 4), 7, np.uint8),))


@given(bests=st.lists(st.booleans(), min_size=1, max_size=400), most=st.integers(4, 60))
def test_what_is_kept_later_was_kept_before(bests: list[bool], most: int) -> None:
    """So files are only ever removed, and an interrupted run keeps those that one left alone does."""
    kept: set[int] = set()
    best = 1
    for epoch, is_best in enumerate(bests, 1):
        best = epoch if is_best else best
        now = kept_epochs(epoch, best, most)
        assert now <= kept | {epoch}
        assert {1, best, epoch} <= now and len(now) <= most
        kept = now


def test_a_short_run_keeps_all_and_a_long_one_every_so_manieth() -> None:
    assert kept_epochs(47, 5) == set(range(1, 48))
    assert kept_epochs(1000, None) == {1, *range(32, 1000, 32), 1000}
    assert len(kept_epochs(10**6, 999_999)) <= MOST_EPOCHS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder, written = SampleFolder(tmp_path / "samples"), slices()
    assert folder.epochs() == ()
    folder.begin(written, 0)
    for epoch in range(1, 61):
        folder.write_epoch(epoch, [np.full((3, 4), epoch, np.uint8)], best=7)
    read = folder.read_slices()
    assert read.description == written.description
    np.testing.assert_array_equal(read.scans[0], written.scans[0])
    np.testing.assert_array_equal(read.references[0], written.references[0])
    assert folder.epochs() == (1, *range(2, 7, 2), 7, *range(8, 61, 2))
    (label_map,) = folder.read_epoch(58)
    assert label_map.dtype == np.uint8 and (label_map == 58).all()
    assert "a/b" not in "".join(path.name for path in folder.path.iterdir())


def test_a_run_that_goes_on_keeps_what_it_had_by_then(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "samples")
    folder.begin(slices(), 0)
    for epoch in (1, 2, 3):
        folder.write_epoch(epoch, [np.zeros((3, 4), np.uint8)], best=1)
    folder.begin(slices(), 2)
    assert folder.epochs() == (1, 2)
    folder.begin(slices(number=4), 2)  # other slices, whose label maps these are not
    assert folder.epochs() == ()


def test_damage_is_one_line(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "samples")
    folder.begin(slices(), 0)
    folder.write_epoch(1, [np.zeros((3, 4), np.uint8)], best=1)
    for path, read in ((folder.slices, folder.read_slices), (folder.epoch_file(1), lambda: folder.read_epoch(1))):
        whole = path.read_bytes()
        for content in (b"", b"PK", whole[: len(whole) // 2], whole[:60] + bytes(20) + whole[80:]):
            path.write_bytes(content)
            with pytest.raises(RunFolderError, match=rf"{path.name}: missing or damaged"):
                read()
    np.savez(folder.slices, description=np.array('{"schema_version": 2}'))
    with pytest.raises(RunFolderError, match="missing or damaged"):
        folder.read_slices()
    with pytest.raises(RunFolderError, match="missing or damaged"):
        folder.read_epoch(2)
    folder.begin(slices(), 1)
    assert folder.epochs() == ()  # nobody can say whose they were
