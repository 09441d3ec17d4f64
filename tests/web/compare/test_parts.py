"""What of jobs can be compared, in which settings runs differ, and comparisons in a process beside the server."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from r2d2.config import commented_yaml, configure
from tests.web.compare.conftest import Ended
from web.compare.choice import chosen
from web.compare.results import Results
from web.compare.run_settings import settings_table

pytestmark = pytest.mark.slow


def test_what_of_a_job_can_be_compared(ended: Ended) -> None:
    run, empty = ended.run("long", "training.epochs=3"), ended.run("empty")
    evaluation = ended.evaluation("of the good one", "good")
    (ended.made / "good" / "prediction.json").write_text('{"zoo_name": "liver-unet@1"}')
    small = ended.site.submit("small").id
    found = {one.id: one for one in chosen(ended.site.engine, [run, empty, evaluation, small, 999, run])}
    assert list(found) == [run, empty, evaluation, small, 999]
    assert found[run].run is not None and found[run].fault is None and found[run].evaluation is None
    assert found[empty].fault == "it has written no settings and no curves: it is completed"
    assert found[evaluation].evaluation is not None and found[evaluation].model == "liver-unet@1"
    assert "leaves neither curves nor scores to compare" in str(found[small].fault)
    assert found[999].fault == "there is no job 999" and found[999].job is None


def test_settings_that_differ(ended: Ended, tmp_path: Path) -> None:
    for name, words in (("a", ["training.epochs=3", "fold=1"]), ("b", ["training.epochs=4", "run_dir=x"]), ("c", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(commented_yaml(configure({}, assignments=words), "a run"))
    (tmp_path / "c" / "config.yaml").write_text("training: [")
    (tmp_path / "d").mkdir()
    table = settings_table([(5, tmp_path / "a"), (7, tmp_path / "c"), (6, tmp_path / "b"), (8, tmp_path / "d")])
    assert table.runs == (5, 6)
    assert {row.key: row.values for row in table.rows} == {"fold": ("1", "null"), "training.epochs": ("3", "4")}
    assert table.other_cases
    assert [fault.split(":")[0] for fault in table.faults] == ["job 7", "job 8"]
    (tmp_path / "b" / "config.yaml").write_text(commented_yaml(configure({"fold": 1}), "a run"))
    os.utime(tmp_path / "b" / "config.yaml", ns=(1, 1))
    changed = settings_table([(5, tmp_path / "a"), (6, tmp_path / "b")])
    assert [row.key for row in changed.rows] == ["training.epochs"] and not changed.other_cases


def awaited(results: Results, *asked: Any) -> Mapping[str, Any]:
    end = time.monotonic() + 300
    while (shown := results.of(*asked)) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return shown


def test_a_comparison_as_the_page_shows_it(ended: Ended) -> None:
    results = Results()
    folders = [ended.made / f"evaluation_{name}" for name in ("good", "shifted")]
    shown = awaited(results, folders, [], "error")
    assert [metric["name"] for metric in shown["metrics"]] == ["dice", "hd95_mm", "nsd"]
    dice = shown["metrics"][0]
    assert [model["name"] for model in dice["models"]] == ["A", "B"] and dice["cases"] == 10
    lesion = next(pair for pair in dice["pairs"] if pair["label"] == "lesion")
    assert (lesion["verdict"], lesion["p"], lesion["difference"]) == ("A better", "0.004", "-1.000 [-1.000, -1.000]")
    assert lesion["at"] == [-100, -100, -100]
    assert results.of(folders, [], "error") is shown, "made once"
    (folders[0] / "cases.csv").touch()
    assert results.of(folders, [], "error") is None, "an evaluation that was made anew is compared anew"


def test_what_cannot_be_compared_says_why(ended: Ended, tmp_path: Path) -> None:
    results = Results()
    shown = awaited(results, [ended.made / "evaluation_good", tmp_path], [], "error")
    assert shown == {"faults": [f"{tmp_path}: no summary.json here; evaluate first"]}
    shown = awaited(results, [ended.made / f"evaluation_{name}" for name in ("good", "blind")], ["no_metric"], "error")
    assert len(shown["faults"]) == 1 and "no_metric" in shown["faults"][0]
