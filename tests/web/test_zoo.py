"""The zoo's pages: models listed and shown, registries, predictions; nothing of a card is obeyed by a browser."""

import re
from pathlib import Path

import pytest

from r2d2.engine import Submission
from r2d2.prediction.manifest import PredictedCase, PredictionManifest, write_manifest
from r2d2.reports.page import figures
from r2d2.reports.picture import encode, new_figure
from r2d2.tasks.registries import AddSettings, add_registry
from tests.web.conftest import Site, csrf_of, post
from tests.web_server import served
from tests.zoo_models import WEIGHTS, add_model, begin_empty, list_files

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return begin_empty(tmp_path, monkeypatch)


def test_models_are_listed_shown_and_fetched(site: Site, zoo: Path, tmp_path: Path) -> None:
    add_model(zoo, "ours", WEIGHTS, title=f"Ours {SCRIPT}")
    add_model(tmp_path / "registry", "theirs", WEIGHTS + b"2", title="Theirs")
    add_registry(AddSettings(name="hospital", location=str(tmp_path / "registry")))
    vera, olga = site.client("vera"), site.client("olga")
    page = vera.get("/zoo").text
    assert "/zoo/models/ours/1" in page and "/zoo/models/theirs/1" in page and "hospital" in page
    assert SCRIPT not in page and "Forget" not in page and "Ask them now" not in page
    assert "/zoo/models/ours/1" not in vera.get("/zoo?words=theirs").text
    card = vera.get("/zoo/models/ours/1").text
    assert SCRIPT not in card and "Ours &lt;script&gt;" in card and "What it is not for" in card
    assert "Predict with it" not in card and "Predict with it" in olga.get("/zoo/models/ours/1").text
    remote = olga.get("/zoo/models/theirs/1").text
    assert "not on this server" in remote and "Fetch from hospital" in remote
    begun = post(olga, "/zoo/models/theirs/1", "/zoo/models/theirs/1/pull", registry="hospital")
    assert begun.status_code == 302
    job = site.engine.show(int(begun.location.rpartition("/")[2]))
    assert job.job.task == "pull" and job.settings["model"] == "zoo:theirs:1" and job.settings["registry"] == "hospital"
    for address in ("/zoo/models/gone/1", "/zoo/models/ours/2", "/zoo/models/Ours/1", "/zoo/models/ours/0"):
        assert vera.get(address).status_code == 404
    anna = site.client("anna")
    assert post(anna, "/zoo/models/ours/1", "/zoo/models/ours/1/remove").status_code == 302
    assert not (zoo / "ours" / "1").exists()
    assert post(anna, "/zoo", "/zoo/registries/hospital/forget").status_code == 302
    assert "theirs" not in vera.get("/zoo").text


def test_a_card_has_its_pictures(site: Site, zoo: Path, tmp_path: Path) -> None:
    png = encode(new_figure(2, 1), f"worst {SCRIPT}", "Worst case: label_1 Dice 0.1.")
    page = f"<h1>Ours</h1>{figures([png, png], 'wide')}<figure><img src='/etc/passwd' width='1' height='1'></figure>"
    folder = add_model(zoo, "ours", WEIGHTS)
    (folder / "card.html").write_text(f"{page}<script src='x'></script>")
    vera, address = site.client("vera"), "/zoo/models/ours/1"
    assert "How that looks" not in vera.get(address).text, "it is not the file that was published"
    list_files(folder)
    card = vera.get(address).text
    assert card.count("<figure>") == 2 and SCRIPT not in card and "passwd" not in card and "Worst case" in card
    found = re.findall(r'<img src="([^"]+)" width="(\d+)" height="(\d+)"', card)
    assert found == [(f"{address}/pictures/{number}.png", str(png.width), str(png.height)) for number in (1, 2)]
    answer = vera.get(found[0][0])
    assert (answer.data, answer.mimetype) == (png.png, "image/png")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for other in ("pictures/0.png", "pictures/3.png", "pictures/../card.html", "pictures/x.png"):
        assert vera.get(f"{address}/{other}").status_code == 404, other
    assert vera.get("/zoo/models/ours/2/pictures/1.png").status_code == 404
    (tmp_path / "elsewhere.html").write_bytes((folder / "card.html").read_bytes())
    (folder / "card.html").unlink()
    (folder / "card.html").symlink_to(tmp_path / "elsewhere.html")
    assert vera.get(found[0][0]).status_code == 404, "a link is no file of the model"


def test_registries_are_addresses_that_administrators_add(site: Site, zoo: Path, tmp_path: Path) -> None:
    add_model(tmp_path / "registry", "theirs", WEIGHTS)
    anna = site.client("anna")
    for location in (str(tmp_path / "registry"), "file:///etc", ""):
        assert post(anna, "/zoo", "/zoo/registries", name="x", location=location).status_code == 422
    with served(tmp_path / "registry") as server:
        added = post(anna, "/zoo", "/zoo/registries", name="hospital", location=server.address)
        assert added.status_code == 302
        assert "theirs" in anna.get("/zoo").text
        add_model(tmp_path / "registry", "new", WEIGHTS + b"3")
        assert "/zoo/models/new/1" not in anna.get("/zoo").text, "a list asks no network"
        assert post(site.client("olga"), "/zoo", "/zoo/ask").status_code == 302
        assert "/zoo/models/new/1" in anna.get("/zoo").text
    asked = post(anna, "/zoo", "/zoo/ask")
    assert asked.status_code == 302, "one that does not answer is said"
    assert "hospital" in anna.get("/zoo").text


def test_what_a_prediction_made_is_had_by_number(site: Site) -> None:
    olga = site.client("olga")
    outside = site.folder / "secret.nii.gz"
    outside.write_bytes(b"secret")
    settings = {"model": "zoo:hippocampus-fcn:1", "inputs": [str(site.journal.parent)]}
    job = site.engine.submit(Submission(task="predict", settings=settings), "olga")
    address = f"/predictions/{job.id}"
    assert "appear here" in olga.get(address).text or "No label map was made" in olga.get(address).text
    folder = Path(job.output or "")
    folder.mkdir(parents=True)
    (folder / "a.nii.gz").write_bytes(b"label map")
    (folder / "b.nii.gz").symlink_to(outside)
    cases = [
        PredictedCase(case_id=name, file=file, source="x", source_sha256=(), split=split, unlike=unlike)
        for name, file, split, unlike in (
            (SCRIPT, "a.nii.gz", "train", ("spacing",)),
            ("b", "b.nii.gz", None, ()),
            ("c", "../../job.json", None, ()),
            ("d", "gone.nii.gz", None, ()),
        )
    ]
    made = PredictionManifest(model="m", model_sha256="0", labels={"background": 0, "a": 1}, cases=tuple(cases))
    write_manifest(folder, made)
    page = olga.get(address).text
    assert SCRIPT not in page and "learned from this very scan" in page and "Unlike the scans" in page
    answer = olga.get(f"{address}/files/1", buffered=True)
    assert (answer.status_code, answer.data) == (200, b"label map")
    assert answer.headers["Cache-Control"] == "no-store" and "attachment" in answer.headers["Content-Disposition"]
    for number in (0, 2, 3, 4, 5, 10**20):
        assert olga.get(f"{address}/files/{number}").status_code == 404
    other = site.submit().id
    assert olga.get(f"/predictions/{other}").status_code == 422


def test_a_prediction_wants_scans_of_ones_own(site: Site) -> None:
    olga, anna = site.client("olga"), site.client("anna")
    begun = olga.post("/zoo/uploads", headers={"X-CSRFToken": csrf_of(olga, "/zoo/predict")})
    assert begun.json is not None
    fields = {"model": "zoo:hippocampus-fcn:1", "upload": begun.json["id"]}
    empty = post(olga, "/zoo/predict", "/zoo/predict", **fields)
    assert empty.status_code == 422 and "none came" in empty.text
    assert post(anna, "/zoo/predict", "/zoo/predict", **fields).status_code == 404, "somebody else's"
    for other in ({"model": "zoo:gone:1"}, {"model": "/etc"}, {"split": "all"}, {"dicom_output": "exe"}):
        assert post(olga, "/zoo/predict", "/zoo/predict", **{**fields, **other}).status_code == 422
    assert post(olga, "/zoo/predict", "/zoo/predict", model="run:99", dataset="phantom").status_code in (404, 422)
