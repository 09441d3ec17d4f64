"""A study that comes as an archive."""

import shutil

import numpy as np
import pytest

from imgmed import PreparedDataset, prepare_dataset


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_prepared_like_its_folder(study, tmp_path, kind) -> None:
    archive = shutil.make_archive(str(tmp_path / "Study"), kind, study.folder)
    plain = prepare_dataset(study.folder, tmp_path / "plain")
    packed = prepare_dataset(archive, tmp_path / "packed")
    assert sorted(packed.cases) == sorted(plain.cases) and packed.splits == plain.splits
    for case_id in plain.cases:
        assert packed.case(case_id).sha256 == plain.case(case_id).sha256
        np.testing.assert_array_equal(packed.image(case_id), plain.image(case_id))
    assert str(packed.source_root) == archive
    kept = {path.name for path in packed.folder.iterdir()}
    assert kept == {path.name for path in plain.folder.iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    prepare_dataset(archive, tmp_path / "packed", finish=lambda dataset: pytest.fail("something was done"))


def test_an_interrupted_archive_goes_on(study, tmp_path) -> None:
    archive = shutil.make_archive(str(tmp_path / "Study"), "zip", study.folder)

    def interrupt(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("reading", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(archive, tmp_path / "out", progress=interrupt)
    unfinished = tmp_path / ".out.unfinished"
    (unfinished / ".source.0000.partial").mkdir()
    done = {path.name: path.stat().st_ino for path in (unfinished / "survey").iterdir()}
    assert done
    dataset = prepare_dataset(archive, tmp_path / "out")
    kept = {path.name: path.stat().st_ino for path in (dataset.folder / "survey").iterdir()}
    assert done.items() <= kept.items()
    assert len(PreparedDataset.read(tmp_path / "out").cases) == 5
