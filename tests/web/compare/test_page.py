"""The page that compares: what is chosen stands in its address, and what cannot be compared says why."""

import re
import time

import pytest

from tests.web.compare.conftest import Ended

pytestmark = pytest.mark.slow


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_one_chooses_from_what_has_ended(ended: Ended) -> None:
    run, evaluation = ended.run("to choose", "training.epochs=3"), ended.evaluation("to choose too", "good")
    ended.site.submit("no training")
    browser = ended.site.client("vera")
    page = browser.get("/compare").text
    assert f'value="{run}"' in page and f'value="{evaluation}"' in page and "no training" not in page
    assert f'value="{evaluation}"' not in browser.get("/compare?text=no+such").text
    assert "has “<b>” in its name" not in browser.get("/compare?text=<b>").text
    assert "Add trainings or evaluations" in browser.get(f"/compare?job={run}").text
    page = browser.get(f"/compare?job={run}&add=yes&text=to choose").text
    assert f'<input type="hidden" name="job" value="{run}">' in page, "the choice is kept while one searches"
    assert f'id="choose-{run}"' not in page and f'id="choose-{evaluation}"' in page


def test_settings_that_differ_side_by_side(ended: Ended) -> None:
    one, other = (
        ended.run("one", "training.epochs=3", "workers=2"),
        ended.run("other", "training.epochs=7", "workers=2"),
    )
    page = ended.site.client("vera").get(f"/compare?job={one}&job={other}").text
    table = text_of(page[page.index('id="settings"') :])
    assert f"Job {one}" in table and f"Job {other}" in table
    assert re.search(r"training\.epochs .* 3 +7", table) and "training.seed" not in table
    assert "were not validated on the same cases" not in page
    fold = ended.run("fold", "fold=2", "training.epochs=3")
    assert (
        "were not validated on the same cases" in ended.site.client("vera").get(f"/compare?job={one}&job={fold}").text
    )


def test_results_once_they_are_computed(ended: Ended) -> None:
    ids = [ended.evaluation(name, name) for name in ("good", "shifted", "blind")]
    browser, words = ended.site.client("vera"), "&".join(f"job={one}" for one in ids)
    first = browser.get(f"/compare?{words}").text
    assert "are being compared" in first
    end = time.monotonic() + 300
    while "being compared" in (part := browser.get(f"/compare/results?{words}").text):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert part in browser.get(f"/compare?{words}").text.replace("\r", "") or "A better" in part
    assert f'<a href="/jobs/{ids[0]}">job {ids[0]}</a>: good' in part
    assert "A better" in part and "nsd" in part and "<svg" in part
    assert not re.search(r" style=| on\w+=", part)
    one = browser.get(f"/compare?job={ids[0]}").text
    assert "Choose a second evaluation" in one


def test_what_cannot_be_compared_says_why(ended: Ended) -> None:
    small, empty = ended.site.submit("small").id, ended.run("empty")
    page = text_of(ended.site.client("vera").get(f"/compare?job={small}&job={empty}&job=99999").text)
    assert "Not compared: there is no job 99999." in page
    assert "Not compared: it has written no settings and no curves: it is completed." in page
    assert "leaves neither curves nor scores to compare" in page
    words = "&".join(f"job={one}" for one in range(1, 30))
    for query in (words, "job=x", "job=-1&unmatched=sometimes", f"job={10**30}", "text=" + "x" * 200):
        assert ended.site.client("vera").get(f"/compare?{query}").status_code == 422, query


def test_nobody_compares_what_they_may_not_see(ended: Ended) -> None:
    site = ended.site
    closed = ended.evaluation("of the closed folder", "good")
    site.accounts.set_root(str(site.folder / "data"), [])
    try:
        page = text_of(site.client("vera").get(f"/compare?job={closed}").text)
        assert "uses a folder that is not shown to you" in page and "of the closed folder" not in page
    finally:
        site.accounts.set_root(str(site.folder / "data"), None)
