"""The page of a cross-validation: the curves of its folds, and their best figures."""

import re
from pathlib import Path

import pytest

from r2d2.engine import Submission
from r2d2.engine.folder import FINAL
from tests.r2d2.curves.test_folds import written_folds
from tests.web.conftest import Site
from tests.web.serving import until
from web.api.models import Metrics


@pytest.fixture(scope="module")
def folds(site: Site) -> int:
    """The number of a cross-validation with two folds that train or did."""
    job = site.engine.submit(Submission(task="cross-validate", name="folds"), "olga")
    until(lambda: site.engine.show(job.id).job.state in FINAL)
    written_folds(Path(str(job.output)))
    return job.id


def test_the_curves_of_each_fold(site: Site, folds: int) -> None:
    vera = site.client("vera")
    listed = vera.get(f"/jobs/{folds}/folds")
    runs = listed.get_json()["runs"]
    assert [run["called"] for run in runs] == ["fold 0", "fold 2", "fold 10"]
    assert vera.get(f"/jobs/{folds}/folds", headers={"If-None-Match": listed.headers["ETag"]}).status_code == 304
    found = [vera.get(run["url"]).get_json() for run in runs]
    assert [one.get("last_step") for one in found] == [20, 0, 10]
    assert found[0]["epochs"]["dice"] == [0.7, 0.6] and found[0]["epochs"]["dice_per_label"]["lesion"] == [0.5, None]
    for fold in ("7", "1", "99"):
        assert vera.get(f"/jobs/{folds}/curves?fold={fold}").get_json() == {"steps": None}
    for fold in ("-1", "x", "../0", "1e9"):
        assert vera.get(f"/jobs/{folds}/curves?fold={fold}").status_code == 422
    small = site.submit()
    assert vera.get(f"/jobs/{small.id}/folds").get_json() == {"runs": []}
    assert vera.get(f"/jobs/{small.id}/curves?fold=0").get_json() == {"steps": None}


def test_metrics_of_a_fold_as_the_api_gives_them(site: Site, folds: int) -> None:
    answer = site.api("GET", f"/jobs/{folds}/metrics?fold=0&most=10", "vera")
    assert answer.status_code == 200, answer.text
    found = Metrics.model_validate_json(answer.text, strict=True)
    assert (found.last_step, found.total_steps, found.steps_per_epoch, found.is_behind) == (20, 30, 10, False)
    assert found.steps.step == [2.0 * stretch for stretch in range(1, 11)]
    assert found.steps.loss.largest[:2] == [1, 0.3333333] and found.steps.loss.least[:2] == [0.5, 0.25]
    assert found.epochs.dice == [0.7, 0.6] and found.epochs.dice_per_label["lesion"] == [0.5, None]
    for job, said in ((f"{folds}/metrics?fold=1", "each fold"), (f"{site.submit().id}/metrics", "no such")):
        none = site.api("GET", f"/jobs/{job}", "vera")
        assert (none.status_code, none.json["error"]["kind"]) == (404, "not_found")  # type: ignore[index]
        assert said in none.json["error"]["message"]  # type: ignore[index]
    assert site.api("GET", f"/jobs/{folds}/metrics?most=3").status_code == 422


def test_the_best_figures_of_each_fold(site: Site, folds: int) -> None:
    page = site.client("vera").get(f"/jobs/{folds}").text
    table = page[page.index('aria-label="folds"') :]
    rows = [
        re.sub(r"<[^>]+>", " ", row).split()
        for row in re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], re.S)
    ]
    assert rows[0][-2:] == ["organ", "lesion"]
    assert rows[1:] == [
        ["0", "completed", "2", "of", "3", "0.700", "1", "0.900", "0.500"],
        ["2", "waiting"],
        ["10", "waiting", "1", "of", "3"],
    ], "of one score there is no mean"
