"""The pages of datasets: folders gone through, inspected beside the server, prepared by a job, shown."""

import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from imgmed import PreparedDataset
from r2d2.config import configure
from r2d2.errors import R2D2Error
from r2d2.viewing.dataset import glance_at, open_dataset, view_dataset
from r2d2.viewing.finding import find_datasets, list_folder
from tests.r2d2.viewing.oblique import oblique_study
from tests.web.conftest import Site, csrf_of, post
from tests.web.datasets.conftest import NAME, Shelf
from tests.web.serving import until
from web.datasets.preparation import PreparationForm, faults_of


@pytest.fixture(scope="module")
def olga(site: Site, shelf: Shelf) -> FlaskClient:
    return site.client("olga")


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def viewed(site: Site, path: str) -> str:
    """Give the page of an inspection as a viewer has it."""
    return site.client("vera").get(f"/datasets/inspect/1?path={path}").text


def inspected(client: FlaskClient, path: str, **form: str) -> str:
    """Inspect, wait for it, and give what the page says."""
    address = f"/datasets/inspect/1?path={path}&recipe={form.get('recipe', 'auto')}"
    answer = client.post(f"/datasets/inspect/1?path={path}", data={"csrf_token": csrf_of(client, "/account"), **form})
    assert answer.status_code == 302, answer.text
    part = address.replace("inspect/1", "inspect/1/part")
    until(lambda: "You may leave this page" not in client.get(part).text)
    return plain(client.get(address).text)


def test_the_list_has_what_jobs_made_and_what_lies_in_folders(olga: FlaskClient, shelf: Shelf) -> None:
    page = olga.get("/datasets").text
    assert page.count(">Askew</a>") == 1  # one folder, however it is found
    assert "organ, lesion" in page and "data/askew/dataset" in page


def test_going_through_folders(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    (site.folder / "data" / "bare").mkdir(exist_ok=True)
    (site.folder / "data" / "outer").symlink_to("/")
    page = olga.get("/datasets/browse/1").text
    assert 'href="/datasets/browse/1?path=askew"' in page and "prepared dataset" not in page
    page = olga.get("/datasets/browse/1?path=askew").text
    assert 'href="/datasets/show/root/1?path=askew/dataset"' in page and "prepared dataset" in page
    assert f"{NAME}.nii.gz" in olga.get("/datasets/browse/1?path=askew/study/imagesTr").text
    assert "This folder is empty" in olga.get("/datasets/browse/1?path=bare").text
    for path, status in (("none", 404), ("../work", 404), ("/", 404), ("outer", 403), ("outer/tmp", 403)):
        assert olga.get(f"/datasets/browse/1?path={path}").status_code == status, path
    assert olga.get("/datasets/browse/7").status_code == 404
    (site.folder / "data" / "outer").unlink()


def test_a_folder_is_inspected(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    assert "Nothing is written" in olga.get("/datasets/inspect/1?path=askew/study").text
    page = inspected(olga, "askew/study")
    for words in (
        "6 cases",
        "6 patients",
        "0 problems",
        "msd: dataset.json",
        "organ (1)",
        "1 (back-front)",
        "17 × 22 × 12",
    ):
        assert words in page, words
    assert "spacing is largest there" in page  # why slices are cut so
    assert "Prepare …" in page and "Prepare …" not in plain(viewed(site, "askew/study"))


def test_what_is_wrong_is_listed(olga: FlaskClient, site: Site) -> None:
    source = oblique_study(site.folder / "data" / "broken")
    (source / "imagesTr" / "askew_002.nii.gz").write_bytes(b"no scan")
    page = inspected(olga, "broken")
    assert "1 problem" in page and "askew_002.nii.gz" in page
    (site.folder / "data" / "nothing").mkdir()
    assert "the folder is empty" in inspected(olga, "nothing")


def test_an_archive_is_inspected(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    with zipfile.ZipFile(site.folder / "data" / "study.zip", "w") as archive:
        for file in sorted((site.folder / "data" / "askew" / "study").rglob("*")):
            archive.write(file, file.relative_to(site.folder / "data" / "askew"))
    assert "6 cases" in inspected(olga, "study.zip")


def test_an_inspection_is_cancelled(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    word = {"csrf_token": csrf_of(olga, "/account"), "recipe": "nnunet"}
    address = "/datasets/inspect/1?path=askew/study"
    olga.post(address, data=word)
    olga.post(address.replace("/1?", "/1/cancel?"), data=word)
    part = "/datasets/inspect/1/part?path=askew/study&recipe=nnunet"
    until(lambda: "You may leave this page" not in olga.get(part).text)
    assert "cancel" in olga.get(part).text.lower()


def test_a_layout_that_is_none(olga: FlaskClient) -> None:
    assert post(olga, "/account", "/datasets/inspect/1?path=askew/study", recipe="none").status_code == 422
    assert olga.get("/datasets/inspect/1?path=askew/study&recipe=none").status_code == 422


def test_a_preparation_is_submitted_with_what_was_changed(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    page = olga.get("/datasets/prepare/1?path=askew/study").text
    fields = dict(re.findall(r'<input id="field-(s\.[a-z_]+)" name="[^"]+" type="text" value="([^"]*)"', page))
    assert fields["s.folds"] == "5" and fields["s.spacing_mm"] == "" and "s.splits" not in page
    sent = {**{name: text.replace("&#34;", '"').replace("&#39;", "'") for name, text in fields.items()}}
    sent |= {"s.folds": "3", "s.slice_axis": "2", "s.spacing_mm": "[1, 1, 3]", "s.patient_pattern": "^(ask.*)_"}
    sent |= {"into": "1", "folder": "made/here", "name": "mine", "recipe": "auto"}
    answer = post(olga, "/account", "/datasets/prepare/1?path=askew/study", **sent)
    assert answer.status_code == 302, plain(answer.text)
    found = site.engine.show(int(answer.location.rpartition("/")[2]))
    assert found.job.task == "prepare" and found.job.by == "olga" and found.job.name == "mine"
    assert Path(found.settings["source"]) == site.folder / "data" / "askew" / "study"
    assert Path(found.settings["out"]) == site.folder / "data" / "made" / "here"
    assert sorted(found.settings["settings"]) == [
        "preparation.folds=3",
        "preparation.patient_pattern=^(ask.*)_",
        "preparation.slice_axis=2",
        "preparation.spacing_mm=[1, 1, 3]",
    ]


def test_faults_are_shown_at_their_fields(olga: FlaskClient, shelf: Shelf) -> None:
    sent = {"s.folds": "1", "s.validation_fraction": "x", "s.patient_pattern": "(", "recipe": "auto"}
    answer = post(olga, "/account", "/datasets/prepare/1?path=askew/study", **sent)
    assert answer.status_code == 422 and "3 to be mended" in answer.text
    for name, text in (("folds", "1"), ("validation_fraction", "x"), ("patient_pattern", "(")):
        field = re.search(rf'<input id="field-s\.{name}"[^>]*>', answer.text)
        assert field is not None and 'aria-invalid="true"' in field[0] and f'value="{text}"' in field[0]
    for folder in ("", "..", "a/../..", "/etc", ".hidden"):
        answer = post(olga, "/account", "/datasets/prepare/1?path=askew/study", into="1", folder=folder)
        assert answer.status_code == 422 and "name a folder" in answer.text, folder


def test_a_preparation_is_looked_at_while_one_types(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    page, source = "/datasets/prepare/1?path=askew/study", site.folder / "data" / "askew" / "study"
    assert f"r2d2 prepare {source} --out DATASET" in olga.get(page).text
    token, count = csrf_of(olga, page), site.engine.list().total

    def told(**sent: str) -> Any:
        answer = olga.post(page.replace("/1?", "/1/check?"), data={"csrf_token": token, "recipe": "auto", **sent})
        assert answer.status_code == 200, answer.text
        return answer.json

    found = told(**{"s.folds": "3", "augment_to": "90", "into": "1", "folder": "a b/c"})
    assert found["faults"] == {} and found["changed"] == ["preparation.folds"] and "stands" in found["verdict"]
    out = site.folder / "data" / "a b" / "c"
    command = shlex.split(found["command"])
    assert command == ["r2d2", "prepare", str(source), "--out", str(out), "--augment-to", "90", "preparation.folds=3"]
    assert configure(yaml.safe_load(found["yaml"])) == configure(
        {}, assignments=["preparation.folds=3", "preparation.augment_to=90"]
    )
    found = told(**{"s.folds": "1", "augment_to": "-1"}, into="1", folder="../x", preset="none such")
    assert list(found["faults"]) == ["folder"], "nothing else is asked before there is a place"
    assert set(told(**{"s.folds": "1", "s.test_fraction": "7"})["faults"]) == {
        "preparation.folds",
        "preparation.test_fraction",
    }
    assert set(told(augment_to="-1", preset="none such")["faults"]) >= {"augment_to"}
    assert told(into="9", folder="x")["faults"] == {"into": ["there is no such folder"]}
    assert "none such" in " ".join(told(preset="none such")["general"])
    assert site.engine.list().total == count, "looking queues nothing"


def test_every_setting_can_be_typed() -> None:
    form = PreparationForm(typed={"mask_threshold": "0.5", "series": "yes", "spacing_mm": "", "remap_labels": "{1: 2}"})
    assert set(form.words()) == {
        "preparation.mask_threshold=0.5",
        "preparation.series='yes'",
        "preparation.remap_labels={1: 2}",
    }
    with pytest.raises(R2D2Error) as caught:
        PreparationForm(typed={"folds": "0", "seed": "-1"}).submission(Path("a"), None)
    assert sorted(faults_of(caught.value)) == ["preparation.folds", "preparation.seed"]


def test_a_dataset_is_shown(olga: FlaskClient, site: Site, shelf: Shelf) -> None:
    for address in (f"/datasets/show/job/{shelf.prepared}", "/datasets/show/root/1?path=askew/dataset"):
        page = olga.get(address).text
        assert page.count("thumbnail.jpg") == 6 and "slices are cut across back-front" in page
    only = olga.get(f"/datasets/show/job/{shelf.prepared}?part=test").text
    assert only.count("thumbnail.jpg") == len(shelf.dataset.splits.test)
    assert olga.get(f"/datasets/show/job/{shelf.elsewhere}").status_code == 404


def test_a_report_is_shown_without_rights(olga: FlaskClient, shelf: Shelf) -> None:
    address = f"/datasets/report/job/{shelf.prepared}"
    assert olga.get(address).status_code == 404
    (shelf.dataset.folder / "dataset.html").write_text("<p>a report</p><script>alert(1)</script>")
    answer = olga.get(address)
    policy = answer.headers["Content-Security-Policy"]
    assert "a report" in answer.text and policy.startswith("sandbox; default-src 'none'") and "script" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    answer.close()
    (shelf.dataset.folder / "dataset.html").unlink()


def test_what_is_known_of_a_dataset(shelf: Shelf) -> None:
    folder = shelf.dataset.folder
    view, glance = view_dataset(open_dataset(folder)), glance_at(folder)
    assert glance is not None and (glance.name, glance.cases, glance.labels) == ("Askew", 6, ("organ", "lesion"))
    assert [(label.name, label.value, label.cases) for label in view.labels] == [("organ", 1, 6), ("lesion", 2, 6)]
    assert sum(part.cases for part in view.parts) == 6 and view.folds == 2
    assert {name for name, _, _ in view.choices} >= {"slice_axis", "spacing_mm", "slice_size", "normalisation"}
    assert {row.part for row in view.cases} <= {"train", "validation", "test"}
    assert open_dataset(folder) is open_dataset(folder) and isinstance(open_dataset(folder), PreparedDataset)


def test_datasets_are_found_where_they_lie(shelf: Shelf, tmp_path: Path) -> None:
    data = shelf.dataset.folder.parent.parent
    assert list(find_datasets(data)) == [shelf.dataset.folder]
    (tmp_path / "again").symlink_to(data)
    assert list(find_datasets(tmp_path)) == []  # links are not followed
    entries, more = list_folder(data / "askew")
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("dataset", "dataset"),
        ("study", "folder"),
    ] and more == 0
    assert glance_at(data / "askew" / "study") is None
