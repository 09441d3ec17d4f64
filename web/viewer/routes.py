"""Pages and pictures of a case. Nothing of it is kept by a browser: all answers say ``no-store``."""

from __future__ import annotations

import math
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request, url_for
from werkzeug.exceptions import NotFound

from r2d2.engine import JobQuery, Jobs
from r2d2.engine.errors import RefusedError
from r2d2.viewing.browser_volume import MOST_VOXELS, browser_volume
from r2d2.viewing.case import LAYERS, Layer, ViewedCase, case_of_dataset
from r2d2.viewing.dataset import open_dataset
from r2d2.viewing.description import describe_case, label_colours
from r2d2.viewing.pictures import grey_picture, label_picture, window_of
from r2d2.viewing.planes import cut, plane_names
from r2d2.viewing.reader import CaseReader
from r2d2.viewing.thumbnails import thumbnail

from ..area import Area, Console, part
from ..permissions import Permission, needs
from ..places import Place, Places
from ..security import VOLUME_POLICY

__all__ = ["AREA"]

MOST_OVERLAYS = 50


def _add(pages: Blueprint, console: Console) -> None:
    places = Places(console)
    _add_pages(pages, places, console.jobs)
    _add_data(pages, places)


def _add_pages(pages: Blueprint, places: Places, jobs: Jobs) -> None:
    @pages.get("/viewer/<kind>/<int:number>")
    @needs(Permission.READ)
    def cases(kind: str, number: int) -> str:
        place = places.find(kind, number, _path())
        return render_template("viewer/cases.html", place=place)

    @pages.get("/viewer/<kind>/<int:number>/<case_id>")
    @needs(Permission.READ)
    def show(kind: str, number: int, case_id: str) -> str:
        place, case = _found(places, kind, number, case_id)
        return render_template("viewer/slices.html", **_shown(place, case), overlays=_overlays(place, jobs))

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/volume")
    @needs(Permission.READ)
    def volume(kind: str, number: int, case_id: str) -> Response:
        place, case = _found(places, kind, number, case_id)
        response = make_response(render_template("viewer/volume.html", **_shown(place, case)))
        response.headers["Content-Security-Policy"] = VOLUME_POLICY
        return response


def _add_data(pages: Blueprint, places: Places) -> None:
    """What the pages' scripts ask for: words, pictures and volumes."""
    reader = CaseReader(places.check)

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/info.json")
    @needs(Permission.READ)
    @part
    def info(kind: str, number: int, case_id: str) -> Any:
        _, case = _found(places, kind, number, case_id)
        return jsonify(describe_case(case, reader, _whole("channel", 0)).as_json())

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/slice.png")
    @needs(Permission.READ)
    @part
    def slice_picture(kind: str, number: int, case_id: str) -> Response:
        _, case = _found(places, kind, number, case_id)
        scan = reader.scan(case, _whole("channel", 0)).volume
        plane = cut(scan.array, scan.affine, _plane(case), _whole("at", 0))
        low, high = _number("low"), _number("high")
        window = (low, high) if low is not None and high is not None and low < high else window_of(scan.array)
        return _picture(grey_picture(plane, window))

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/labels.png")
    @needs(Permission.READ)
    @part
    def labels_picture(kind: str, number: int, case_id: str) -> Response:
        _, case = _found(places, kind, number, case_id)
        array, affine = reader.label_map(case, _layer()), reader.scan(case).volume.affine
        plane = cut(array, affine, _plane(case), _whole("at", 0))
        is_outline = request.args.get("outline") == "1"
        return _picture(label_picture(plane, case.labels, label_colours(case), is_outline=is_outline))

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/<layer>.nii.gz")
    @needs(Permission.READ)
    @part
    def volume_file(kind: str, number: int, case_id: str, layer: str) -> Response:
        _, case = _found(places, kind, number, case_id)
        scan = reader.scan(case, _whole("channel", 0)).volume
        most = None if request.args.get("whole") == "1" else MOST_VOXELS
        if layer == "scan":
            array = scan.array if scan.array.ndim == 3 else scan.array.mean(axis=3)
            made = browser_volume(array, scan.affine, most_voxels=most, window=window_of(array))
        else:
            array = reader.label_map(case, _checked_layer(layer))
            made = browser_volume(array, scan.affine, is_label_map=True, most_voxels=most)
        return Response(made.content, mimetype="application/gzip")

    @pages.get("/viewer/<kind>/<int:number>/<case_id>/thumbnail.jpg")
    @needs(Permission.READ)
    @part
    def thumbnail_picture(kind: str, number: int, case_id: str) -> Response:
        place = places.find(kind, number, _path())
        if place.dataset is None:
            raise NotFound("there are small pictures of prepared datasets alone")
        return Response(thumbnail(open_dataset(place.dataset), case_id), mimetype="image/jpeg")


def _found(places: Places, kind: str, number: int, case_id: str) -> tuple[Place, ViewedCase]:
    """Find what is looked at, with the label map of another job where one is asked for."""
    place = places.find(kind, number, _path())
    other = _whole("prediction", 0)
    if not other:
        return place, place.case(case_id)
    folder = places.find("job", other).prediction
    if folder is None or place.dataset is None:
        raise NotFound(f"job {other} has made no label maps that can be laid over these cases")
    return place, case_of_dataset(open_dataset(place.dataset), case_id, folder)


def _overlays(place: Place, jobs: Jobs) -> list[tuple[int, str]]:
    """Predictions of the place's dataset that may be laid over its cases: number and name of the job."""
    if place.dataset is None or place.prediction is not None:
        return []
    found = jobs.list(JobQuery(tasks=("predict",), states=("completed",), limit=MOST_OVERLAYS)).jobs
    dataset = str(place.dataset)
    return [(job.id, job.name) for job in found if jobs.show(job.id).settings.get("dataset") == dataset]


def _shown(place: Place, case: ViewedCase) -> dict[str, Any]:
    case_ids = place.case_ids
    at = case_ids.index(case.case_id)
    words = place.words | {name: request.args[name] for name in ("prediction",) if name in request.args}
    return {
        "place": place,
        "case": case,
        "words": words,
        "before": case_ids[at - 1] if at else None,
        "after": case_ids[at + 1] if at + 1 < len(case_ids) else None,
        "at": at + 1,
        "count": len(case_ids),
        "layers": [layer for layer in LAYERS if case.file_of(layer) is not None],
        "colours": label_colours(case),
        "addresses": _addresses(case, words),
    }


def _addresses(case: ViewedCase, words: dict[str, Any]) -> dict[str, str]:
    """Give where the page's script finds what."""
    words = words | {"case_id": case.case_id}
    files = {layer: url_for("viewer.volume_file", layer=layer, **words) for layer in ("scan", *LAYERS)}
    pictures = {"slice": "slice_picture", "labels": "labels_picture", "info": "info"}
    return files | {name: url_for(f"viewer.{endpoint}", **words) for name, endpoint in pictures.items()}


def _path() -> str:
    return request.args.get("path", "")


def _plane(case: ViewedCase) -> str:
    name, names = request.args.get("plane", ""), plane_names(case.is_picture)
    if name not in names:
        raise RefusedError(f"plane: one of {', '.join(names)}", [("plane", "is none")])
    return name


def _layer() -> Layer:
    return _checked_layer(request.args.get("layer", ""))


def _checked_layer(name: str) -> Layer:
    for layer in LAYERS:
        if layer == name:
            return layer
    raise NotFound("there are the scan, its reference and its prediction")


def _whole(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise RefusedError(f"{name}: is a whole number", [(name, "is a whole number")])
    return int(text)


def _number(name: str) -> float | None:
    text = request.args.get(name, "")
    try:
        found = float(text) if text else None
    except ValueError:
        found = math.nan
    if found is not None and not abs(found) < 1e30:
        raise RefusedError(f"{name}: is a number", [(name, "is a number")])
    return found


def _picture(png: bytes) -> Response:
    return Response(png, mimetype="image/png")


AREA = Area("viewer", _add)
