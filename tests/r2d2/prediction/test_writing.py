"""Label maps on their way into their folder: what is done stays done, and nothing else is taken for done."""

import json
from pathlib import Path

import numpy as np
import pytest

from imgmed import Volume
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, read_manifest
from r2d2.prediction.writing import unfinished_prediction
from r2d2_base.errors import OutputExistsError

LABEL_MAP = Volume(np.ones((4, 3, 2), np.uint8), np.eye(4))


def case(name: str, digest: str = "0" * 64) -> PredictedCase:
    return PredictedCase(case_id=name, file=f"{name}.nii.gz", source=f"/{name}", source_sha256=(digest,), split=None)


def manifest(*cases: PredictedCase) -> PredictionManifest:
    return PredictionManifest(model="m", model_sha256="s", labels={"background": 0, "a": 1}, cases=cases)


def interrupt(out: Path, *done: PredictedCase, error: type[BaseException] = KeyboardInterrupt) -> None:
    with pytest.raises(error), unfinished_prediction(out, ("model",)) as folder:
        for one in done:
            folder.write(one, LABEL_MAP, None, (0,))
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_later_call_goes_on(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "new/out"
    interrupt(out, case("a"), case("b"), error=error)
    assert not out.exists()
    with unfinished_prediction(out, ("model",)) as folder:
        assert [folder.holds(case(name), (0,)) for name in "abc"] == [True, True, False]
        assert not folder.holds(case("a", "1" * 64), (0,))  # another scan
        assert not folder.holds(case("a"), (1,))  # another channel of it
        folder.finish(manifest(case("a")))
    assert sorted(path.name for path in out.iterdir()) == ["a.nii.gz", "prediction.json"]
    assert read_manifest(out) == manifest(case("a"))
    assert set(json.loads((out / "prediction.json").read_text())) == {
        *("schema_version", "model", "model_sha256", "labels", "cases")
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_another_network_and_a_damaged_label_map_do_not_count(tmp_path: Path) -> None:
    interrupt(tmp_path / "out", case("a"), case("b"))
    (tmp_path / ".out.unfinished/b.nii.gz").write_bytes(b"half")
    with pytest.raises(KeyError), unfinished_prediction(tmp_path / "out", ("another",)) as folder:
        assert not folder.holds(case("a"), (0,))
        raise KeyError
    with pytest.raises(KeyError), unfinished_prediction(tmp_path / "out", ("model",)) as folder:
        assert [folder.holds(case(name), (0,)) for name in "ab"] == [True, False]
        raise KeyError


def test_nothing_done_leaves_nothing(tmp_path: Path) -> None:
    interrupt(tmp_path / "new/out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError), unfinished_prediction(tmp_path / "out", ("model",)) as folder:
        folder.write(case("a"), LABEL_MAP, None)
        folder.finish(manifest(case("a")))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/theirs").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]
