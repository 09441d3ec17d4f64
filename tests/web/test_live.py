"""Data that pages ask for again and again: compressed where the browser takes that, and sent where it has changed."""

import gzip
import json

from tests.web.conftest import Site


def test_data_is_compressed_and_sent_once(site: Site) -> None:
    job, vera = site.submit("said something").id, site.client("vera")
    plain = vera.get(f"/jobs/{job}/log")
    packed = vera.get(f"/jobs/{job}/log", headers={"Accept-Encoding": "br, gzip"})
    assert plain.headers.get("Content-Encoding") is None and packed.headers["Content-Encoding"] == "gzip"
    assert set(json.loads(gzip.decompress(packed.data))) == set(json.loads(plain.data))
    assert "Accept-Encoding" in packed.headers["Vary"] and packed.headers["Cache-Control"] == "no-store"
    while site.engine.show(job).job.ended_at is None:
        site.engine.look()
    tag = vera.get(f"/jobs/{job}/log").headers["ETag"]
    for more in ({}, {"Accept-Encoding": "gzip"}):
        answer = vera.get(f"/jobs/{job}/log", headers={"If-None-Match": tag, **more})
        assert (answer.status_code, answer.data) == (304, b"")


def test_pages_that_hold_the_word_of_forms_are_not_compressed(site: Site) -> None:
    page = site.client("olga").get("/account", headers={"Accept-Encoding": "gzip"})
    assert "csrf_token" in page.text and page.headers.get("Content-Encoding") is None
