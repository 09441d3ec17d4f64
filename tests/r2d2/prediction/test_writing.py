"""Label maps on their way into their folder: what is done stays done, and nothing else is taken for done."""

import json
from pathlib import Path

import numpy as np
import pytest

from imgmed import Volume, read_volume
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, read_manifest
from r2d2.prediction.predictor import Segmentation
from r2d2.prediction.settings import InferenceSettings
from r2d2.prediction.writing import maps_of, unfinished_prediction
from r2d2_base.errors import OutputExistsError

LABEL_MAP = Volume(np.ones((4, 3, 2), np.uint8), np.eye(4))


def case(name: str, digest: str = "0" * 64) -> PredictedCase:
    return PredictedCase(case_id=name, file=f"{name}.nii.gz", source=f"/{name}", source_sha256=(digest,), split=None)


def manifest(*cases: PredictedCase) -> PredictionManifest:
    return PredictionManifest(model="m", model_sha256="s", labels={"background": 0, "a": 1}, cases=cases)


def interrupt(out: Path, *done: PredictedCase, error: type[BaseException] = KeyboardInterrupt) -> None:
    with pytest.raises(error), unfinished_prediction(out, ("model",)) as folder:
        for one in done:
            folder.write(one, LABEL_MAP, {"uncertainty": LABEL_MAP.array / 3}, None, (0,))
        raise error


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_the_networks_say_is_part_of_what_is_done(tmp_path: Path) -> None:
    said = case("a").model_copy(update={"uncertainty": 0.25})
    interrupt(tmp_path / "out", said)
    with unfinished_prediction(tmp_path / "out", ("model",)) as folder:
        assert folder.earlier(case("a"), (0,)) == said
        folder.finish(manifest(said).model_copy(update={"inference": InferenceSettings(uncertainty="entropy")}))
    assert read_manifest(tmp_path / "out").cases == (said,)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_later_call_goes_on(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "new/out"
    interrupt(out, case("a"), case("b"), error=error)
    assert not out.exists()
    with unfinished_prediction(out, ("model",)) as folder:
        assert [folder.earlier(case(name), (0,)) for name in "abc"] == [case("a"), case("b"), None]
        assert folder.earlier(case("a", "1" * 64), (0,)) is None  # another scan
        assert folder.earlier(case("a"), (1,)) is None  # another channel of it
        folder.finish(manifest(case("a")))
    assert files_of(out) == ["a.nii.gz", "prediction.json", "uncertainty/a.nii.gz"]
    uncertainty = read_volume(out / "uncertainty/a.nii.gz")
    np.testing.assert_allclose(uncertainty.array, 1 / 3, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(uncertainty.affine, LABEL_MAP.affine)
    assert read_manifest(out).cases == (case("a"),)
    assert set(json.loads((out / "prediction.json").read_text())) == {
        *("schema_version", "model", "model_sha256", "labels", "cases", "made_by", "made")
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_maps_that_a_later_call_does_not_ask_for_go(tmp_path: Path) -> None:
    interrupt(tmp_path / "out", case("a"))
    with unfinished_prediction(tmp_path / "out", ("model", "without maps")) as folder:
        assert folder.earlier(case("a"), (0,)) is None
        folder.write(case("a"), LABEL_MAP, {}, None)
        folder.finish(manifest(case("a")))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "prediction.json"]


@pytest.mark.parametrize("damaged", ["b.nii.gz", "uncertainty/b.nii.gz"])
def test_another_network_and_a_damaged_file_do_not_count(tmp_path: Path, damaged: str) -> None:
    interrupt(tmp_path / "out", case("a"), case("b"))
    (tmp_path / ".out.unfinished" / damaged).write_bytes(b"half")
    with pytest.raises(KeyError), unfinished_prediction(tmp_path / "out", ("another",)) as folder:
        assert folder.earlier(case("a"), (0,)) is None
        raise KeyError
    with pytest.raises(KeyError), unfinished_prediction(tmp_path / "out", ("model",)) as folder:
        assert [folder.earlier(case(name), (0,)) for name in "ab"] == [case("a"), None]
        raise KeyError


def test_nothing_done_leaves_nothing(tmp_path: Path) -> None:
    interrupt(tmp_path / "new/out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError), unfinished_prediction(tmp_path / "out", ("model",)) as folder:
        folder.write(case("a"), LABEL_MAP, {}, None)
        folder.finish(manifest(case("a")))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/theirs").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


def test_a_label_of_a_strangers_model_leads_nowhere_else() -> None:
    said = Segmentation(np.zeros((1, 1, 1), np.uint8), probabilities=np.zeros((1, 1, 1, 3), np.float32))
    assert list(maps_of(said.probabilities, said.uncertainty, ("../../home/x", "/etc", "liver"))) == [
        "probabilities/____home_x",
        "probabilities/_etc",
        "probabilities/liver",
    ]
