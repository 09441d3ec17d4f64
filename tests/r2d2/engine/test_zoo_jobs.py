"""Models fetched and published by jobs, with real processes."""

from pathlib import Path

import pytest

from r2d2.engine import Submission
from r2d2.engine.errors import RefusedError
from r2d2.tasks.registries import AddSettings, add_registry
from r2d2.zoo.card.description import read_description
from tests.r2d2.engine.conftest import Bench
from tests.r2d2.zoo.publishing.trained_run import PEOPLE, WORDS, prepare_study, write_run
from tests.zoo_models import WEIGHTS, add_model, begin_empty


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return begin_empty(tmp_path, monkeypatch)


def test_a_model_is_fetched_by_a_job(zoo: Path, tmp_path: Path, bench: Bench) -> None:
    add_model(tmp_path / "registry", "nuclei", WEIGHTS)
    add_registry(AddSettings(name="ours", location=str(tmp_path / "registry")))
    first = bench.engine.submit(Submission(task="pull", settings={"model": "zoo:nuclei", "registry": "ours"}))
    (ended,) = bench.ended(first.id)
    assert (ended.state, ended.reason) == ("completed", None)
    fetched, offered = (folder / "nuclei" / "1" / "model.keras" for folder in (zoo, tmp_path / "registry"))
    assert fetched.read_bytes() == offered.read_bytes()
    again = bench.engine.submit(Submission(task="pull", settings={"model": "zoo:nuclei:1"}))
    (ended,) = bench.ended(again.id)
    assert ended.reason == "nuclei:1 was here already, with the same files"
    unknown = bench.engine.submit(Submission(task="pull", settings={"model": "zoo:liver"}))
    (ended,) = bench.ended(unknown.id)
    assert ended.state == "failed" and "no model liver in ours" in str(ended.reason)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_network_is_published_by_a_job_with_the_words_in_its_settings(
    zoo: Path, tmp_path: Path, bench: Bench
) -> None:
    run = write_run(prepare_study(tmp_path), tmp_path / "run").path
    settings = {"run": str(run), "name": "noise", "wishes": {"description": WORDS}}
    first = bench.engine.submit(Submission(task="publish", settings=settings))
    named = {"run": str(run), "name": "noise", "wishes": {"description": {**WORDS, "remarks": f"Not {PEOPLE[0]}."}}}
    second = bench.engine.submit(Submission(task="publish", settings=named, after=(first.id,)))
    (ended,) = bench.ended(first.id)
    result = bench.engine.show(first.id).result
    assert ended.state == "completed" and result is not None
    assert result["model"] == "noise:1" and "not evaluated" in str(result["notices"])
    assert read_description(zoo / "noise" / "1").title == WORDS["title"]
    (refused,) = bench.ended(second.id)
    assert refused.state == "failed"
    assert PEOPLE[0] not in str(refused.reason) and "not published" in str(refused.reason)
    with pytest.raises(RefusedError, match="is not there"):
        bench.engine.submit(Submission(task="publish", settings={**settings, "run": str(tmp_path / "gone")}))
