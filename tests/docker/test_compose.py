"""The compose files, as Docker Compose itself reads them: hardened, closed to other hosts, without a password."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCKER = Path(__file__).resolve().parents[2] / "docker"
OVERRIDES = sorted(path.name for path in DOCKER.glob("compose.*.yaml"))
ON_THE_HOSTS_NETWORK = {"engine", "telegraf"}


def configuration(*overrides: str, **environment: str) -> dict[str, Any]:
    """What Compose makes of the files; it fails for whatever it does not know."""
    files = [word for name in ("compose.yaml", *overrides) for word in ("--file", str(DOCKER / name))]
    command = [str(Path(sys.executable).parent / "docker-compose"), *files, "config", "--format", "json"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env={**kept, **environment})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = configuration()["services"]
    return found


def test_the_services_are_those_of_the_paper_and_what_they_need(services: dict[str, Any]) -> None:
    assert set(services) == {"secrets", "engine", "tensorboard", "influxdb", "telegraf", "grafana"}


@pytest.mark.parametrize("overrides", [(), *((name,) for name in OVERRIDES)], ids=lambda names: " ".join(names) or "-")
def test_every_service_is_hardened(overrides: tuple[str, ...]) -> None:
    for name, service in configuration(*overrides)["services"].items():
        assert service["init"] and service["read_only"] and service["user"] == "1000:1000", name
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service or service["image"] in ("r2d2", "r2d2-gpu"), name  # whose images have one
        assert service["tmpfs"] == ["/tmp"], name


def test_nothing_is_published_to_other_hosts(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 3 and {port["host_ip"] for port in published} == {"127.0.0.1"}
    on_host = {name for name, service in services.items() if service.get("network_mode") == "host"}
    assert on_host == ON_THE_HOSTS_NETWORK
    assert "--host=127.0.0.1" in services["engine"]["command"]


def test_no_secret_has_a_value(services: dict[str, Any]) -> None:
    """What is called a password or a token names a file of the volume that the first service fills."""
    named = [
        (name, value)
        for service in services.values()
        for name, value in (service.get("environment") or {}).items()
        if re.search(r"PASSWORD|TOKEN|SECRET", name)
    ]
    assert len(named) == 4
    assert all(re.search(r"_FILE$", name) and value.startswith("/run/secrets/") for name, value in named)
    sources = (DOCKER / "make_secrets.py").read_text(encoding="utf-8")
    assert all(f'"{Path(value).name}"' in sources for _, value in named)
    for name in ("engine", "influxdb", "telegraf", "grafana"):
        volume = next(one for one in services[name]["volumes"] if one["target"] == "/run/secrets")
        assert volume["source"] == "secrets" and volume["read_only"], name
        assert services[name]["depends_on"]["secrets"]["condition"] == "service_completed_successfully"


def test_jobs_may_send_to_the_influxdb_that_is_published(services: dict[str, Any]) -> None:
    changed = configuration(INFLUX_PORT="18086")["services"]
    assert services["engine"]["environment"]["R2D2_INFLUX_URLS"] == "http://127.0.0.1:8086"
    assert changed["engine"]["environment"]["R2D2_INFLUX_URLS"] == "http://127.0.0.1:18086"
    assert changed["influxdb"]["ports"][0]["published"] == "18086"


def test_files_that_are_mounted_exist(services: dict[str, Any]) -> None:
    bound = [Path(one["source"]) for service in services.values() for one in service.get("volumes", ())
             if one["type"] == "bind"]  # fmt: skip
    assert len(bound) == 3 and all(path.exists() for path in bound)


def test_scans_are_a_volume_or_a_folder() -> None:
    def scans(**environment: str) -> dict[str, Any]:
        volumes: list[dict[str, Any]] = configuration(**environment)["services"]["engine"]["volumes"]
        return next(one for one in volumes if one["target"] == "/scans")

    assert (scans()["type"], scans()["read_only"]) == ("volume", True)
    assert (scans(R2D2_SCANS="/data")["type"], scans(R2D2_SCANS="/data")["source"]) == ("bind", "/data")


def test_the_example_has_every_variable_with_its_default() -> None:
    files = "".join((DOCKER / name).read_text(encoding="utf-8") for name in ("compose.yaml", *OVERRIDES))
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", files))
    assert len(used) == len(set(re.findall(r"\$\{(\w+)", files)))
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^#(\w+)=(.+)$", example, re.MULTILINE))
    assert given | {"R2D2_SCANS": "scans"} == used
    assert all(line.startswith("#") for line in example.splitlines() if line)


def test_the_gpu_engine_asks_for_all_gpus() -> None:
    engine = configuration("compose.gpu.yaml")["services"]["engine"]
    devices = engine["deploy"]["resources"]["reservations"]["devices"]
    assert [(one["driver"], one["count"], one["capabilities"]) for one in devices] == [("nvidia", -1, ["gpu"])]
    assert engine["build"]["dockerfile"] == "docker/gpu.Dockerfile"


def test_victoria_metrics_stands_in_for_influxdb_alone() -> None:
    services = configuration("compose.victoria.yaml")["services"]
    assert set(services) == {"secrets", "engine", "tensorboard", "influxdb"}
    assert services["influxdb"]["pull_policy"] == "never" and not services["influxdb"].get("environment")
