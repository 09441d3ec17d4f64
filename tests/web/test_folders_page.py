"""The page on which administrators say who sees which folder."""

import re

from tests.web.conftest import Site, post


def test_an_administrator_says_who_sees_a_folder(site: Site) -> None:
    anna, olga, vera = (site.client(name) for name in ("anna", "olga", "vera"))
    path, job = str(site.folder / "data"), site.submit("seen by some").id
    assert path in vera.get("/roots").text and "All users may see it" in vera.get("/roots").text
    answer = post(anna, "/roots", "/roots/1", who="some", user=str(site.users["olga"].id))
    assert answer.status_code == 302
    try:
        page = anna.get("/roots").text
        assert f"{path} is now shown to olga and administrators." in page
        assert re.search(r'value="some" checked', page) and page.count('name="user"') == 2
        assert path in olga.get("/roots").text and path not in vera.get("/roots").text
        assert "No folder is shown to you" in vera.get("/roots").text
        assert olga.get(f"/jobs/{job}").status_code == 200 and vera.get(f"/jobs/{job}").status_code == 403
        last = site.accounts.audit(1)[0]
        assert (last.who, last.action, last.target, last.status) == ("anna", "settings.change_root", path, 302)
    finally:
        assert post(anna, "/roots", "/roots/1", who="all").status_code == 302
    assert vera.get(f"/jobs/{job}").status_code == 200
    assert site.accounts.closed_roots() == {}


def test_what_is_no_answer_is_refused(site: Site) -> None:
    anna = site.client("anna")
    assert post(anna, "/roots", "/roots/7", who="all").status_code == 404
    assert post(anna, "/roots", "/roots/1", who="nobody").status_code == 422
    assert post(anna, "/roots", "/roots/1", who="some", user="9999999999999").status_code == 302
    assert site.accounts.closed_roots() == {str(site.folder / "data"): frozenset()}
    post(anna, "/roots", "/roots/1", who="all")


def test_a_folder_that_is_no_longer_declared_stays_closed(site: Site) -> None:
    site.accounts.set_root("/gone & <away>", [])
    try:
        assert "/gone &amp; &lt;away&gt;" in site.client("anna").get("/roots").text
        assert "/gone" not in site.client("olga").get("/roots").text
    finally:
        site.accounts.set_root("/gone & <away>", None)


def test_the_audit_log_is_searched_on_its_page(site: Site) -> None:
    anna = site.client("anna")
    site.accounts.note("otto", "session", "127.0.0.1", "runs.cancel", "12345", 302)
    for words, is_there in (("text=cancel+a+job", True), ("text=12345&who=otto", True), ("who=nobody", False)):
        assert ("12345" in anna.get(f"/audit?{words}").text.partition("<tbody>")[2]) is is_there, words
    assert "Nothing found" in anna.get("/audit?who=nobody").text
    for words in ("outcome=x", "page=0", "page=x"):
        assert anna.get(f"/audit?{words}").status_code == 422
    assert anna.get("/audit?page=99").status_code == 200


def test_what_the_server_protects_is_said(site: Site) -> None:
    page = site.client("vera").get("/protection").text
    assert "on this computer alone" in page and "What is not protected" in page
