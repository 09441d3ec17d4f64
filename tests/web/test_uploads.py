"""Scans from browsers: whose they are, what is taken, how much, and for how long."""

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from werkzeug.exceptions import NotFound

from r2d2.engine.errors import RefusedError
from tests.web.conftest import Site, csrf_of
from web import uploads as module
from web.uploads import Uploads

NIFTI = b"\x1f\x8b" + bytes(200)
DICOM = bytes(128) + b"DICM" + bytes(100)


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path, days=2)


def add(uploads: Uploads, word: str, name: str, content: bytes = NIFTI, group: int = 0, owner: str = "olga") -> Path:
    return uploads.add(uploads.find(word, owner), group, name, io.BytesIO(content), len(content))


def test_what_came_is_read_by_its_owner_alone(uploads: Uploads, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        upload = uploads.begin("olga")
        file = add(uploads, upload.id, "scan (1).nii.gz")
    finally:
        os.umask(mask)
    assert file.read_bytes() == NIFTI
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (uploads.folder, upload.path, file.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((upload.path / "upload.json").stat().st_mode) == 0o600
    with pytest.raises(NotFound):
        uploads.find(upload.id, "otto")
    for word in ("", "..", upload.id[:-1], f"../{upload.id}", upload.id.upper() + "x", "0" * 32):
        with pytest.raises(NotFound):
            uploads.find(word, "olga")


@pytest.mark.parametrize(
    "name",
    ["", "..", ".hidden.nii", "a/b.nii", "a\\b.nii", "a\0.nii", "a\n.nii", "-rf.nii", f"{'a' * 121}.nii", "<b>.nii"],
)
def test_names_that_lead_elsewhere_are_refused(uploads: Uploads, name: str) -> None:
    upload = uploads.begin("olga")
    with pytest.raises(RefusedError, match="give it another"):
        add(uploads, upload.id, name)
    assert list(upload.path.rglob("*.nii")) == []


def test_what_is_no_scan_is_refused_and_leaves_nothing(uploads: Uploads) -> None:
    upload = uploads.begin("olga")
    for name, content in (("notes.txt", b"x"), ("page.html", b"<script>"), ("model.keras", NIFTI), ("a.dcm", NIFTI)):
        with pytest.raises(RefusedError, match="no scan that R2D2 knows"):
            add(uploads, upload.id, name, content)
    with pytest.raises(RefusedError, match="broke off"):
        uploads.add(upload, 0, "half.nii.gz", io.BytesIO(NIFTI), 2 * len(NIFTI))
    assert list(upload.scans.rglob("*.*")) == []
    assert add(uploads, upload.id, "IM0001", DICOM).name == "IM0001", "DICOM files have names of any kind"
    with pytest.raises(RefusedError, match="is there already"):
        add(uploads, upload.id, "IM0001", DICOM + b"other")
    assert (upload.scans / "0" / "IM0001").read_bytes() == DICOM


def test_amounts_are_bounded(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = uploads.begin("olga")
    monkeypatch.setattr(module, "MOST_FILE_BYTES", 300)
    monkeypatch.setattr(module, "MOST_BYTES", 500)
    for length in (None, 0, 301):
        with pytest.raises(RefusedError, match="a file has"):
            uploads.add(upload, 0, "a.nii", io.BytesIO(bytes(400)), length)
    add(uploads, upload.id, "a.nii", bytes(300))
    with pytest.raises(RefusedError, match="at most"):
        add(uploads, upload.id, "b.nii", bytes(201))
    monkeypatch.setattr(module, "MOST_FILES", 1)
    with pytest.raises(RefusedError, match="at most 1 files"):
        add(uploads, upload.id, "c.nii", b"x")
    assert Uploads(uploads.folder.parent, 2).find(upload.id, "olga") is not None
    with pytest.raises(RefusedError, match="at most"):  # also after the server began anew
        add(Uploads(uploads.folder.parent, 2), upload.id, "b.nii", bytes(201))
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 2**60)
    with pytest.raises(RefusedError, match="no room"):
        uploads.begin("olga")
    monkeypatch.undo()
    for _ in range(module.MOST_OPEN - 1):
        uploads.begin("olga")
    with pytest.raises(RefusedError, match="remove some first"):
        uploads.begin("olga")
    uploads.begin("otto")


def test_they_go_after_their_term(uploads: Uploads) -> None:
    upload = uploads.begin("olga")
    add(uploads, upload.id, "a.nii.gz")
    assert upload.until - upload.since == 2 * 86400
    assert uploads.tidy(upload.until - 1) == 0 and upload.path.is_dir()
    damaged = uploads.begin("olga")
    (damaged.path / "upload.json").write_text("{")
    begun = uploads.folder / ("a" * 32)  # a server that was killed before it could say whose it is
    begun.mkdir()
    assert uploads.tidy() == 1 and not damaged.path.exists() and begun.is_dir()
    assert uploads.tidy(upload.until + 86400) == 2 and list(uploads.folder.iterdir()) == []


def test_folders_stay_together_and_loose_scans_are_apart(uploads: Uploads) -> None:
    upload = uploads.begin("olga")
    assert upload.inputs(are_apart=True) == ()
    loose = [add(uploads, upload.id, name) for name in ("a.nii.gz", "b.nii.gz")]
    slices = [add(uploads, upload.id, f"IM{number}", DICOM, group=1) for number in range(3)]
    assert upload.inputs(are_apart=True) == (*loose, slices[0].parent)
    assert upload.inputs(are_apart=False) == (loose[0].parent, slices[0].parent), "several channels make one scan"
    add(uploads, upload.id, "IM9", DICOM)
    assert upload.inputs(are_apart=True) == (loose[0].parent, slices[0].parent), "loose slices of a series"


def test_files_come_as_they_are_by_requests(site: Site) -> None:
    olga, otto = site.client("olga"), site.client("anna")
    words = {client: csrf_of(client, "/zoo/predict") for client in (olga, otto)}
    begun = olga.post("/zoo/uploads", headers={"X-CSRFToken": words[olga]})
    assert begun.status_code == 201 and begun.json is not None
    address = begun.json["file"]
    content = bytes(2**20 + 5)  # larger than other requests may be

    def send(client: Any, name: str, body: bytes = content, **headers: str) -> Any:
        return client.post(
            f"{address}?name={name}",
            data=body,
            content_type="application/octet-stream",
            headers={"X-CSRFToken": words[client], "Accept": "application/json", **headers},
        )

    assert send(olga, "scan.nii").status_code == 201
    assert send(otto, "scan2.nii").status_code == 404
    refused = send(olga, "notes.txt")
    assert refused.status_code == 422 and "no scan that R2D2 knows" in refused.json["error"]["message"]
    assert send(olga, "scan3.nii", **{"X-CSRFToken": "x"}).status_code == 400
    assert send(olga, "..%2Fscan.nii").status_code == 422
    folder = site.settings.work_root / "uploads"
    assert [file.read_bytes() for file in folder.rglob("*.nii")] == [content]
    facts = json.loads(next(folder.glob("*/upload.json")).read_bytes())
    assert facts["owner"] == "olga"
    noted = [(entry.action, entry.status) for entry in site.accounts.audit(20)]
    assert noted.count(("zoo.new_upload", 201)) == 1
    assert [status for action, status in noted if action == "zoo.upload_file"] == [422, 422, 404], (
        "not each file that came"
    )
    dropped = olga.post(begun.json["drop"], headers={"X-CSRFToken": words[olga]})
    assert dropped.status_code == 200 and list(folder.rglob("*.nii")) == []


def test_nobody_else_has_them_read_whichever_way_they_are_named(site: Site) -> None:
    uploads = Uploads(site.settings.work_root, 1)
    upload = uploads.begin("olga")
    file = add(uploads, upload.id, "scan.nii")
    link = site.folder / "data" / "link"
    link.symlink_to(upload.path)

    def status(name: str, scans: Path) -> int:
        settings = {"model": "zoo:hippocampus-fcn", "inputs": [str(scans)]}
        return site.api("POST", "/jobs", name, json={"task": "predict", "settings": settings}).status_code

    assert status("olga", file) == 201
    for scans in (file, file.parent, upload.path, link / "scans" / "0" / "scan.nii"):
        assert status("anna", scans) == 422, "an administrator neither"
    for scans in (upload.path.parent, site.settings.work_root, site.folder):
        assert status("olga", scans) == 422, "what holds the scans of others"
    uploads.drop(upload)
