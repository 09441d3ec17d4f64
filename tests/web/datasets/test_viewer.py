"""The case viewer's server: what it draws is what files hold, and no file is shown that whoever asks may not see."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from imgmed import Volume, read_volume, write_volume
from r2d2.reports.palette import colours_of, rgb
from r2d2.viewing.planes import cut
from tests.r2d2.viewing.oblique import LABELS, SHAPE, oblique_affine, oblique_case
from tests.web.conftest import Site, post
from tests.web.datasets.conftest import NAME, Shelf, job_done, write_prediction
from web.security import CONTENT_SECURITY_POLICY, VOLUME_POLICY
from web.uploads import Uploads

COLOURS = np.array([(0, 0, 0, 0)] + [(*rgb(colour), 255) for colour in colours_of(LABELS).values()], np.uint8)


@pytest.fixture(scope="module")
def vera(site: Site, shelf: Shelf) -> FlaskClient:
    return site.client("vera")


def picture(client: FlaskClient, path: str) -> np.ndarray:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store" and answer.mimetype == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.data)))


def addresses(shelf: Shelf) -> list[str]:
    """The same case, by its job and by its folder: what stands before and behind the name of a part."""
    return [f"/viewer/job/{shelf.prepared}/{NAME}{{}}?x=1", f"/viewer/root/1/{NAME}{{}}?path=askew/dataset"]


def test_slices_are_drawn_voxel_by_voxel(vera: FlaskClient, shelf: Shelf) -> None:
    scan, reference = oblique_case(1)
    for address in addresses(shelf):
        for plane, at in (("axial", 8), ("coronal", 4), ("sagittal", 9)):
            cutting = f"&plane={plane}&at={at}"
            drawn = picture(vera, address.format("/slice.png") + f"{cutting}&low=100&high=610")
            expected = (cut(scan, oblique_affine(), plane, at).astype(float).clip(100, 610) - 100) / 2
            assert np.abs(drawn - expected).max() <= 0.5
            labels = cut(reference, oblique_affine(), plane, at)
            drawn = picture(vera, address.format("/labels.png") + f"{cutting}&layer=reference")
            assert labels.any() and np.array_equal(drawn, COLOURS[labels])


def test_a_prediction_is_laid_over_it(vera: FlaskClient, shelf: Shelf) -> None:
    cutting = "&plane=axial&at=8&layer=prediction"
    expected = COLOURS[cut(shelf.label, oblique_affine(), "axial", 8)]
    for address in (
        f"/viewer/job/{shelf.prepared}/{NAME}/labels.png?prediction={shelf.predicted}",
        f"/viewer/job/{shelf.predicted}/{NAME}/labels.png?x=1",
        f"/viewer/job/{shelf.elsewhere}/new/labels.png?x=1",
        "/viewer/root/1/new/labels.png?path=elsewhere",
    ):
        assert np.array_equal(picture(vera, address + cutting), expected), address
    outline = picture(vera, f"/viewer/job/{shelf.predicted}/{NAME}/labels.png?outline=1{cutting}")[..., 3] > 0
    assert 0 < outline.sum() < (expected[..., 3] > 0).sum()


def test_the_reference_of_an_evaluation_against_a_folder(vera: FlaskClient, site: Site, shelf: Shelf) -> None:
    address, cutting = f"/viewer/job/{shelf.judged}/new", "?plane=axial&at=8"
    for layer, label in (("reference", oblique_case(2)[1]), ("prediction", shelf.label)):
        expected = COLOURS[cut(label, oblique_affine(), "axial", 8)]
        assert expected.any() and np.array_equal(
            picture(vera, f"{address}/labels.png{cutting}&layer={layer}"), expected
        )
    assert vera.get(f"{address}/info.json").get_json()["layers"] == ["reference", "prediction"]
    assert f'href="/viewer/job/{shelf.judged}"' in vera.get(f"/jobs/{shelf.judged}").text
    assert ">new</a>" in vera.get(f"/viewer/job/{shelf.judged}").text
    references = site.folder / "data" / "references"
    secret = site.folder / "secret.nii.gz"
    (references / "new.nii.gz").rename(secret)
    assert vera.get(f"{address}/info.json").get_json()["layers"] == ["prediction"], "it is gone"
    (references / "new.nii.gz").symlink_to(secret)
    answer = vera.get(f"{address}/labels.png{cutting}&layer=reference")
    assert answer.status_code == 422 and "outside of the folders" in answer.text, "links are followed and looked at"
    (references / "new.nii.gz").unlink()
    secret.rename(references / "new.nii.gz")


def test_what_a_page_knows_of_a_case(vera: FlaskClient, shelf: Shelf) -> None:
    info = vera.get(f"/viewer/job/{shelf.predicted}/{NAME}/info.json").get_json()
    assert info["layers"] == ["reference", "prediction"] and info["notes"] == [] and info["plane"] == "coronal"
    assert info["shape"] == list(SHAPE) and info["steps"] == [1, 1, 1]
    assert [label["name"] for label in info["labels"]] == ["organ", "lesion"]
    assert [plane["name"] for plane in info["planes"]] == ["axial", "coronal", "sagittal"]
    labelled = oblique_case(1)[1] > 0
    areas = [np.count_nonzero(cut(labelled, oblique_affine(), "axial", at)) for at in range(SHAPE[1])]
    assert areas[info["begin"]["axial"]] == max(areas) > 0


def test_a_browser_gets_volumes_in_the_grid_of_the_scan(vera: FlaskClient, shelf: Shelf, tmp_path: Path) -> None:
    scan, reference = oblique_case(1)
    for layer, array in (("scan", scan), ("reference", reference), ("prediction", shelf.label)):
        answer = vera.get(f"/viewer/job/{shelf.predicted}/{NAME}/{layer}.nii.gz")
        assert answer.headers["Cache-Control"] == "no-store"
        (tmp_path / "sent.nii.gz").write_bytes(answer.data)
        sent = read_volume(tmp_path / "sent.nii.gz")
        assert np.array_equal(sent.array, array) and np.allclose(sent.affine, oblique_affine(), atol=1e-4)
    assert vera.get(f"/viewer/job/{shelf.predicted}/{NAME}/other.nii.gz").status_code == 404


def test_large_volumes_are_sent_thinned_out_and_whole_on_request(
    vera: FlaskClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.viewer.routes.MOST_VOXELS", 500)
    address = f"/viewer/job/{shelf.predicted}/{NAME}/scan.nii.gz"
    few, whole = vera.get(address).data, vera.get(f"{address}?whole=1").data
    assert len(few) < len(whole) / 4


def test_pages_and_their_policies(vera: FlaskClient, shelf: Shelf) -> None:
    for address in addresses(shelf):
        slices, volume = vera.get(address.format("")), vera.get(address.format("/volume"))
        assert slices.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert volume.headers["Content-Security-Policy"] == VOLUME_POLICY
        for page in (slices, volume):
            assert page.headers["Cache-Control"] == "no-store"
            assert "askew" not in re.search("<title>(.*)</title>", page.text)[1]  # type: ignore[index]
    assert f"job {shelf.predicted}: a predict" in vera.get(f"/viewer/job/{shelf.prepared}/{NAME}").text
    listed = vera.get(f"/viewer/job/{shelf.prepared}").text
    assert all(f">askew_00{number}</a>" in listed for number in range(6))
    assert vera.get(f"/viewer/job/{shelf.prepared}/{NAME}/thumbnail.jpg").mimetype == "image/jpeg"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/viewer/job/{job}/nobody", 404),
        ("/viewer/job/99999/askew_001", 404),
        ("/viewer/job/{journal}/askew_001", 404),
        ("/viewer/other/1/askew_001", 404),
        ("/viewer/root/1/askew_001?path=askew", 404),
        ("/viewer/root/1/askew_001?path=../work", 403),
        ("/viewer/root/9/askew_001?path=askew/dataset", 404),
        ("/viewer/job/{job}/..%2F..%2Fdataset", 404),
        ("/viewer/job/{job}/askew_001/slice.png?plane=none&at=1", 422),
        ("/viewer/job/{job}/askew_001/slice.png?plane=axial&at=-1", 422),
        ("/viewer/job/{job}/askew_001/slice.png?plane=axial&low=nan&high=1", 422),
        ("/viewer/job/{job}/askew_001/labels.png?plane=axial&layer=none", 404),
        ("/viewer/job/{job}/askew_001/labels.png?plane=axial&layer=prediction", 422),
        ("/viewer/job/{job}/askew_001?prediction={job}", 404),
    ],
)
def test_what_is_not_there(path: str, status: int, vera: FlaskClient, site: Site, shelf: Shelf) -> None:
    journal = site.submit("no cases").id
    answer = vera.get(path.format(job=shelf.prepared, journal=journal))
    assert answer.status_code == status, answer.text


def test_a_slice_beyond_the_end_is_the_last(vera: FlaskClient, shelf: Shelf) -> None:
    address = f"/viewer/job/{shelf.prepared}/{NAME}/slice.png?plane=axial&at="
    assert np.array_equal(picture(vera, f"{address}999"), picture(vera, f"{address}{SHAPE[1] - 1}"))


def test_no_file_outside_of_the_folders_is_read(vera: FlaskClient, site: Site, tmp_path: Path, shelf: Shelf) -> None:
    write_volume(tmp_path / "secret.nii.gz", Volume(oblique_case(1)[0], oblique_affine()))
    data = site.folder / "data"
    (data / "linked.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    private = site.settings.work_root / "jobs" / "1" / "job.json"
    for number, source in enumerate((tmp_path / "secret.nii.gz", data / "linked.nii.gz", private)):
        folder = data / f"outside-{number}"
        write_prediction(folder, "new", source)
        for place in (f"job/{_predict(site, folder)}", "root/1"):
            answer = vera.get(f"/viewer/{place}/new/slice.png?plane=axial&path={folder.name}")
            assert answer.status_code == 422 and "lies outside" in answer.text, (source, place)
            answer = vera.get(f"/viewer/{place}/new/info.json?path={folder.name}")
            assert answer.status_code == 422
    assert vera.get("/viewer/root/1/new?path=linked.nii.gz").status_code in (403, 404)


def test_scans_that_somebody_brought_are_shown_to_them_alone(site: Site, shelf: Shelf) -> None:
    uploads = Uploads(site.settings.work_root, 1)
    upload = uploads.begin("olga")
    scan = upload.scans / "0" / "scan.nii.gz"
    scan.parent.mkdir(parents=True)
    write_volume(scan, Volume(oblique_case(1)[0], oblique_affine()))
    folder = site.folder / "data" / "brought"
    write_prediction(folder, "new", scan)
    address = f"/viewer/job/{_predict(site, folder)}/new/slice.png?plane=axial"
    assert site.client("olga").get(address).mimetype == "image/png"
    for name in ("vera", "anna"):
        refused = site.client(name).get(address)
        assert refused.status_code == 422 and "lies outside of the folders that are shown to you" in refused.text


def _predict(site: Site, folder: Path) -> int:
    data = site.folder / "data"
    return job_done(site, "predict", model=str(data / "model.keras"), inputs=[str(data)], out=str(folder))


def test_a_hidden_folder_is_shown_to_nobody_else(site: Site, shelf: Shelf) -> None:
    vera, anna = site.client("vera"), site.client("anna")
    address = f"/viewer/job/{shelf.prepared}/{NAME}"
    assert vera.get(address).status_code == 200
    site.accounts.set_root(str(site.folder / "data"), ())
    try:
        for path in (*(one.format("") for one in addresses(shelf)), f"{address}/slice.png?plane=axial"):
            assert vera.get(path).status_code in (403, 404), path
            assert anna.get(path).status_code == 200, path
        assert ">Askew</a>" not in vera.get("/datasets").text and ">Askew</a>" in anna.get("/datasets").text
    finally:
        site.accounts.set_root(str(site.folder / "data"), None)
    assert vera.get(address).status_code == 200


def test_names_of_cases_are_text(site: Site, shelf: Shelf) -> None:
    name = "<b>x&y"
    source = shelf.dataset.source_root / "imagesTr" / f"{NAME}.nii.gz"
    write_prediction(site.folder / "data" / "odd", name, source)
    client = site.client("vera")
    listed = client.get("/viewer/root/1?path=odd").text
    assert name not in listed and "&lt;b&gt;x&amp;y" in listed
    address = re.search(r'href="(/viewer/root/1/[^"]*)">&lt;b&gt;', listed)
    assert address is not None
    page = client.get(address[1].replace("&amp;", "&")).text
    assert "<b>" not in page and "&lt;b&gt;x&amp;y</h1>" in page


def test_nobody_is_shown_a_case_without_a_log_in(site: Site, shelf: Shelf) -> None:
    for part in ("", "/slice.png?plane=axial", "/scan.nii.gz"):
        assert site.client().get(f"/viewer/job/{shelf.prepared}/{NAME}{part}").status_code in (302, 401)
    assert post(site.client("vera"), "/account", f"/viewer/job/{shelf.prepared}/{NAME}").status_code == 405
