"""`docker compose up` and `down`: what is healthy, what is protected, and what becomes of jobs."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import requests

from imgmed import write_phantom_study
from tests.containers.daemon import Docker
from tests.containers.site import Site
from tests.influx_servers import series_of

pytestmark = pytest.mark.containers

COMPOSE_FILES = Path(__file__).resolve().parents[2] / "docker"
SECRETS = ("influx_password", "influx_token", "grafana_password")
EPOCHS = 100
"""Many small ones: a job goes on while the server ends, for 10 s or so, and must still be at work when it is killed."""


@pytest.fixture(scope="module")
def site(
    docker: Docker, image: str, victoria: str, compose_command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The services, healthy, with the API's user logged in; nothing of them is left in the end."""
    folder = tmp_path_factory.mktemp("scans")
    write_phantom_study(folder / "phantom", cases=6, shape=(32, 40, 8))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    made = Site(docker, compose_command, COMPOSE_FILES, folder, image)
    try:
        made.up()
        made.log_in()
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout=5")


@pytest.fixture(scope="module")
def prepared(site: Site) -> str:
    """A dataset, made by a job of the API."""
    number = site.submit("prepare", {"source": "/scans/phantom"})
    assert site.ended(number) == "completed", site.read(f"/data/engine/jobs/{number}/attempts/1/log")
    return f"/data/engine/jobs/{number}/output"


def submit_training(site: Site, dataset: str, **more: Any) -> int:
    """Submit a training of two workers that sends its figures; gives its number."""
    words = (f"training.epochs={EPOCHS}", "training.seed=3", f"monitoring.influx_url={site.influx}")
    return site.submit("train", {"workers": 2, "threads": 1, "dataset": dataset, "settings": words}, **more)


@pytest.fixture(scope="module")
def trained(site: Site, prepared: str) -> int:
    """A training that nothing disturbed."""
    number = submit_training(site, prepared)
    assert site.ended(number) == "completed", site.read(f"/data/engine/jobs/{number}/attempts/1/log")
    return number


def events(site: Site, number: int) -> list[dict[str, Any]]:
    lines = site.read(f"/data/engine/jobs/{number}/output/events.jsonl").splitlines()
    return [json.loads(line) for line in lines]


def losses(site: Site, number: int) -> dict[int, float]:
    """By step; what was done again counts as it was done last."""
    return {one["step"]: one["loss"] for one in events(site, number) if one["event"] == "step"}


def weights(site: Site, number: int, folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    model = site.fetch(f"/data/engine/jobs/{number}/output/model.keras", folder / "model.keras")
    with zipfile.ZipFile(model) as archive:
        archive.extract("model.weights.h5", folder)
    found: dict[str, np.ndarray] = {}

    def note(name: str, entry: h5py.Dataset | h5py.Group) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = entry[()]

    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(note)
    return found


def test_all_services_are_healthy(site: Site) -> None:
    expected = dict.fromkeys(("engine", "tensorboard", "influxdb"), "healthy") | {"secrets": "exited 0"}
    assert site.states() == expected
    assert "R2D2" in requests.get(f"{site.address}/login", timeout=60).text
    assert requests.get(f"{site.influx}/health", timeout=60).ok
    assert "TensorBoard" in requests.get(site.tensorboard, timeout=60).text


def test_secrets_are_files_of_one_user_and_in_no_log(site: Site) -> None:
    files = [f"/run/secrets/{name}" for name in SECRETS]
    told = site.compose("exec", "--no-TTY", "engine", "stat", "-c", "%a %u %n", *files)
    assert told.splitlines() == [f"600 1000 {file}" for file in files]
    logs = site.compose("logs")
    assert "docker compose exec engine cat /run/secrets/grafana_password" in logs
    assert not any(site.read(f"/run/secrets/{name}") in logs for name in SECRETS)
    assert site.read("/data/engine/web/password").strip() not in logs


def test_no_port_is_open_to_other_hosts(site: Site, docker: Docker) -> None:
    """All that listens, on the host as the engine sees it, and by the daemon's own word."""
    rows = site.read("/proc/net/tcp").splitlines()[1:] + site.read("/proc/net/tcp6").splitlines()[1:]
    listening = {row.split()[1] for row in rows if row.split()[3] == "0A"}
    ours = {f"{int(one.rpartition(':')[2]):04X}" for one in (site.address, site.influx, site.tensorboard)}
    assert {one for one in listening if one.rpartition(":")[2] in ours} == {f"0100007F:{port}" for port in ours}


def test_a_job_of_the_api_is_completed(site: Site, trained: int) -> None:
    said = events(site, trained)
    assert [one["world_size"] for one in said if one.get("state") == "starting"] == [2]
    assert max(one["epoch"] for one in said if one["event"] == "step") == EPOCHS


def test_figures_of_a_job_are_in_the_database(site: Site, trained: int) -> None:
    """Every step and epoch, and what the host and each worker did."""
    found = series_of(site.influx, f'{{job="{trained}"}}')
    said = events(site, trained)
    for event, field in (("step", "loss"), ("epoch", "validation_dice")):
        (sent,) = (values for (name, _), values in found.items() if name == f"{event}_{field}")
        recorded = {int(one["time"] * 1e6 + 0.5) // 1000: one[field] for one in said if one["event"] == event}
        assert len(recorded) >= EPOCHS
        assert sent == pytest.approx(recorded, rel=1e-13)
    assert {dict(labels)["rank"] for name, labels in found if name == "work_step"} == {"0", "1"}
    assert {name for name, _ in found} >= {"host_cpu_percent", "worker_memory_bytes", "work_exchange"}
    ledger = json.loads(site.read(f"/data/engine/jobs/{trained}/output/monitoring/influx.json"))
    assert "fault" not in ledger and ledger["refused"] == 0 and ledger["sent"] > 0


def test_the_token_of_the_database_is_in_no_file_of_a_job_and_not_in_its_log(site: Site, trained: int) -> None:
    script = 'grep -rlF -f /run/secrets/influx_token "$0" || true'
    folder = f"/data/engine/jobs/{trained}"
    assert site.compose("exec", "--no-TTY", "engine", "sh", "-c", script, folder) == ""
    assert folder in site.compose("exec", "--no-TTY", "engine", "sh", "-c", "grep -rl training.seed=3 $0", folder)


def test_a_job_sends_to_no_other_server(site: Site, prepared: str) -> None:
    settings = {"dataset": prepared, "settings": [f"monitoring.influx_url={site.tensorboard}"]}
    assert "none of the servers that jobs may send to" in site.refused("/jobs", {"task": "train", "settings": settings})


def test_down_and_up_lose_nothing_and_a_job_goes_on_to_the_same_result(
    site: Site, prepared: str, trained: int, tmp_path: Path
) -> None:
    before = site.api("GET", "/jobs")
    figures = series_of(site.influx, f'{{job="{trained}"}}')
    secrets = [site.read(f"/run/secrets/{name}") for name in SECRETS]
    number = submit_training(site, prepared, max_retries=0)
    run = f"/data/engine/jobs/{number}/output"

    def is_in_the_third_epoch() -> bool:
        script = f"cat {run}/events.jsonl 2>/dev/null || true"
        text = site.compose("exec", "--no-TTY", "engine", "sh", "-c", script)
        return any('"step"' in line and json.loads(line).get("epoch") == 3 for line in text.splitlines()[:-1])

    site.until(is_in_the_third_epoch)
    site.down()
    assert site.states() == {}
    site.up()
    site.until(lambda: site.job(number)["state"] != "running")
    assert site.job(number)["state"] == "lost"
    assert [site.read(f"/run/secrets/{name}") for name in SECRETS] == secrets
    kept = {one["id"]: one for one in site.api("GET", "/jobs")["jobs"]}
    assert [kept[one["id"]] for one in before["jobs"]] == before["jobs"]
    assert figures and series_of(site.influx, f'{{job="{trained}"}}') == figures

    site.api("POST", f"/jobs/{number}/resume")
    assert site.ended(number) == "completed"
    resumed = [one["resumed_at_step"] for one in events(site, number) if one.get("state") == "running"]
    assert resumed[0] == 0 and resumed[1] > 0
    assert losses(site, number) == losses(site, trained)
    again, once = (weights(site, one, tmp_path / str(one)) for one in (number, trained))
    assert again.keys() == once.keys() and len(once) > 10
    assert all(np.array_equal(again[name], once[name]) for name in once)
