"""Pages of the zoo: the list, a model's card, fetching and publishing, and predictions with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, flash, g, jsonify, redirect, render_template, request, send_file, url_for
from werkzeug.exceptions import NotFound

from r2d2.engine import Job, JobDetails, JobQuery, Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.folder import FINAL
from r2d2.errors import R2D2Error
from r2d2.zoo.registries.names import ZooName, check_name, is_name

from ..area import Area, Console, part
from ..live import live_part
from ..permissions import Permission, needs
from ..requests import takes
from ..uploads import MOST_FILE_BYTES, Uploads
from .asking import asked_for_a_while

if TYPE_CHECKING:
    from .predicting import PredictForm
    from .publishing import PublishForm

__all__ = ["AREA"]

_SEEN = {
    "train": "The model learned from this very scan.",
    "validation": "The model was chosen among others by this very scan.",
    "test": "One of the model's test cases, from which it did not learn.",
}
_WAITS: tuple[Any, ...] = ("queued", "starting", "running", "stopping")


def _add(pages: Blueprint, console: Console) -> None:
    _add_models(pages, console)
    _add_registries(pages)
    _add_predicting(pages, console)
    _add_uploads(pages, console.uploads)
    _add_predictions(pages, console)
    _add_publishing(pages, console)
    console.uploads.keep_tidy()


def _add_models(pages: Blueprint, console: Console) -> None:
    jobs = console.jobs

    @pages.get("/zoo")
    @needs(Permission.READ)
    def index() -> str:
        from .catalogue import HERE, catalogue  # here and below: models are looked into once somebody wants them

        found = catalogue(request.args.get("words", "")[:200])
        return render_template("zoo/list.html", found=found, here=HERE)

    @pages.get("/zoo/models/<model_name>/<int:version>")
    @needs(Permission.READ)
    def card(model_name: str, version: int) -> str:
        from .catalogue import card_of, is_removable, kind_of

        found = card_of(_name(model_name, version))
        pulling = jobs.list(JobQuery(tasks=("pull",), states=_WAITS, text=str(found.name))).jobs
        return render_template(
            "zoo/card.html", found=found, kind_of=kind_of, pulling=pulling, is_removable=is_removable(found.name)
        )

    @pages.get("/zoo/models/<model_name>/<int:version>/pictures/<int:number>.png")
    @needs(Permission.READ)
    @part
    def picture(model_name: str, version: int, number: int) -> Response:
        from .catalogue import picture_of

        return Response(picture_of(_name(model_name, version), number), mimetype="image/png")

    @pages.post("/zoo/models/<model_name>/<int:version>/pull")
    @needs(Permission.OPERATE)
    def pull(model_name: str, version: int) -> Any:
        from .catalogue import card_of

        found = card_of(_name(model_name, version))
        registry = request.form.get("registry") or None
        if registry is not None:
            check_name(registry)
        settings = {"model": f"zoo:{found.name}", "registry": registry}
        job = jobs.submit(Submission(task="pull", settings=settings, name=f"fetch {found.name}"), g.person.name)
        g.target = str(found.name)
        return redirect(url_for("runs.show", job_id=job.id))

    @pages.post("/zoo/models/<model_name>/<int:version>/remove")
    @needs(Permission.ADMINISTER)
    def remove(model_name: str, version: int) -> Any:
        from r2d2.tasks.zoo import remove_model

        gone = remove_model(str(_name(model_name, version)))
        g.target = str(gone)
        flash(f"{gone} was removed from the local zoo.")
        return redirect(url_for("zoo.index"))


def _add_registries(pages: Blueprint) -> None:
    @pages.post("/zoo/ask")
    @needs(Permission.OPERATE)
    def ask() -> Any:
        from r2d2.tasks.zoo import ListSettings, list_models

        listing = asked_for_a_while(lambda stop: list_models(ListSettings(), stop=stop))
        for fault in listing.faults:
            flash(fault)
        if not listing.faults:
            flash("All registries were asked: the list is as they have it now.")
        return redirect(url_for("zoo.index"))

    @pages.post("/zoo/registries")
    @needs(Permission.ADMINISTER)
    def add_remote() -> Any:
        from r2d2.tasks.registries import AddSettings, add_registry

        location = request.form.get("location", "").strip()
        name, pin = request.form.get("name", "").strip(), request.form.get("pin", "").strip()
        if not location.startswith(("https://", "http://")):
            raise RefusedError("address: begins with https://; a folder is added on the server, by 'r2d2 zoo add'")
        wanted = AddSettings(name=name, location=location, pin=pin or None)
        added = asked_for_a_while(lambda stop: add_registry(wanted, stop=stop))
        g.target = f"{added.name} {location}"[:200]
        flash(f"{added.name} was added: it has {added.models} versions of models.")
        return redirect(url_for("zoo.index"))

    @pages.post("/zoo/registries/<name>/forget")
    @needs(Permission.ADMINISTER)
    def forget_remote(name: str) -> Any:
        from r2d2.tasks.registries import forget_registry

        forget_registry(name)
        flash(f"{name} was forgotten; models that came from there stay.")
        return redirect(url_for("zoo.index"))


def _add_predicting(pages: Blueprint, console: Console) -> None:
    @pages.get("/zoo/predict")
    @needs(Permission.OPERATE)
    def predict() -> str:
        from .predicting import PredictForm

        return _predict_page(PredictForm.read(request.args), console)

    @pages.post("/zoo/predict")
    @needs(Permission.OPERATE)
    def begin_prediction() -> Any:
        from .predicting import PredictForm, submission_of_prediction

        form = PredictForm.read(request.form)
        try:
            job = console.jobs.submit(submission_of_prediction(form, console, g.person.name), g.person.name)
        except R2D2Error as error:
            return _predict_page(form, console, str(error)), 422
        g.target = str(job.id)
        return redirect(url_for("zoo.prediction", prediction_id=job.id))


def _predict_page(form: PredictForm, console: Console, fault: str = "") -> str:
    from ..choices import dataset_choices, model_choices
    from .predicting import DICOM_OUTPUTS, SPLITS

    return render_template(
        "zoo/predict.html",
        form=form,
        fault=fault,
        models=[(one.word, one.title) for one in model_choices(console.jobs)],
        datasets=[(one.word, one.title) for one in dataset_choices(console)],
        splits=SPLITS,
        dicom_outputs=DICOM_OUTPUTS,
        days=console.uploads.days,
        most=MOST_FILE_BYTES,
    )


def _add_uploads(pages: Blueprint, uploads: Uploads) -> None:
    @pages.post("/zoo/uploads")
    @needs(Permission.OPERATE)
    def new_upload() -> tuple[Response, int]:
        upload = uploads.begin(g.person.name)
        g.target = upload.id[:8]
        content = {
            "id": upload.id,
            "file": url_for("zoo.upload_file", upload_id=upload.id),
            "drop": url_for("zoo.drop_upload", upload_id=upload.id),
        }
        return jsonify(content), 201

    @pages.post("/zoo/uploads/<upload_id>/file")
    @needs(Permission.OPERATE)
    @takes(MOST_FILE_BYTES)
    @part
    def upload_file(upload_id: str) -> tuple[Response, int]:
        upload = uploads.find(upload_id, g.person.name)
        group = request.args.get("group", "0")
        if not group.isdecimal() or len(group) > 4:
            raise RefusedError("group: is a number")
        if request.mimetype != "application/octet-stream":
            raise RefusedError("send the file itself, as application/octet-stream")
        name = request.args.get("name", "")
        uploads.add(upload, int(group), name, request.stream, request.content_length)
        return jsonify({"name": name}), 201

    @pages.post("/zoo/uploads/<upload_id>/drop")
    @needs(Permission.OPERATE)
    def drop_upload(upload_id: str) -> Any:
        uploads.drop(uploads.find(upload_id, g.person.name))
        g.target = upload_id[:8]
        if request.form.get("back", "").isdecimal():
            flash("The scans were removed from the server.")
            return redirect(url_for("zoo.prediction", prediction_id=int(request.form["back"][:18])))
        return jsonify({}), 200


def _add_predictions(pages: Blueprint, console: Console) -> None:
    def shown(prediction_id: int) -> dict[str, Any]:
        from .predictions import made_by

        details = console.jobs.show(_number(prediction_id))
        made = made_by(details)
        upload = console.uploads.of_inputs(details.settings.get("inputs") or (), g.person.name)
        return {"job": details.job, "made": made, "final": FINAL, "seen": _SEEN, "upload": upload}

    @pages.get("/predictions/<int:prediction_id>")
    @needs(Permission.READ)
    def prediction(prediction_id: int) -> str:
        return render_template("zoo/prediction.html", **shown(prediction_id))

    @pages.get("/predictions/<int:prediction_id>/part")
    @needs(Permission.READ)
    @part
    def prediction_part(prediction_id: int) -> Response:
        return live_part("zoo/prediction_part.html", **shown(prediction_id))

    @pages.get("/predictions/<int:prediction_id>/files/<int:number>")
    @needs(Permission.READ)
    @part
    def label_map(prediction_id: int, number: int) -> Response:
        from .predictions import label_map_file, made_by

        made = made_by(console.jobs.show(_number(prediction_id)))
        if made is None:
            raise NotFound("there are no label maps yet")
        file = label_map_file(made, number)
        answer = send_file(file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name)
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _add_publishing(pages: Blueprint, console: Console) -> None:
    def page(form: PublishForm, job_id: int, publishing: Job | None = None) -> str:
        from .publishing import LINES, evaluations, questions, trained

        return render_template(
            "zoo/publish.html",
            form=form,
            job=trained(console.jobs, job_id).job,
            questions=questions(),
            lines=LINES,
            evaluations=[(one.word, one.title) for one in evaluations(console.jobs)],
            publishing=publishing,
            **_told(publishing),
        )

    def publishing_job(text: str) -> JobDetails:
        details = console.jobs.show(_number(int(text[:18]) if text.isdecimal() else 0))
        if details.job.task != "publish":
            raise RefusedError(f"job {details.job.id} publishes nothing: its task is {details.job.task}")
        return details

    @pages.get("/zoo/publish/<int:job_id>")
    @needs(Permission.OPERATE)
    def publish(job_id: int) -> str:
        from .publishing import PublishForm

        if "by" not in request.args:
            return page(PublishForm(), _number(job_id))
        details = publishing_job(request.args["by"])
        return page(PublishForm.of_job(details), _number(job_id), details.job)

    @pages.get("/zoo/publish/<int:job_id>/part")
    @needs(Permission.OPERATE)
    @part
    def publish_part(job_id: int) -> Response:
        job = publishing_job(request.args.get("by", "")).job
        return live_part("zoo/publish_part.html", publishing=job, job_id=job_id, **_told(job))

    @pages.post("/zoo/publish/<int:job_id>")
    @needs(Permission.OPERATE)
    def begin_publishing(job_id: int) -> Any:
        from .publishing import PublishForm, submission_of, trained

        form = PublishForm.read(request.form)
        run = trained(console.jobs, _number(job_id))
        try:
            job = console.jobs.submit(submission_of(form, run, console.jobs), g.person.name)
        except R2D2Error as error:
            return page(form.with_error(error), job_id), 422
        g.target = f"{job.id} {form.name}"
        return redirect(url_for("zoo.publish", job_id=job_id, by=job.id))

    def _told(publishing: Job | None) -> dict[str, Any]:
        """Say what a job that publishes came to: where the model is, or each reason why there is none."""
        if publishing is None:
            return {}
        lines = (publishing.reason or "").split("\n  - ")
        model = None
        if publishing.state == "completed":
            result = console.jobs.show(publishing.id).result or {}
            name, _, version = str(result.get("model", "")).partition(":")
            model = (name, int(version)) if version.isdecimal() else None
        return {"reasons": lines, "model": model, "final": FINAL}


def _name(model_name: str, version: int) -> ZooName:
    if not is_name(model_name) or not 1 <= version < 10**9:
        raise NotFound("there is no such model in the zoo")
    return ZooName(model_name, version)


def _number(job_id: int) -> int:
    if not 1 <= job_id <= 2**62:
        raise NotFound("there is no such job")
    return job_id


AREA = Area("zoo", _add, title="Zoo")
