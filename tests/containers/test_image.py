"""The image for processors: what it can do without a network, as nobody special, and with nothing to write to."""

import json

import pytest

from tests.containers.daemon import Docker

pytestmark = pytest.mark.containers

# a host must find its own name, or Horovod's workers would crash: without a network no other name than this is known
NAMED = ("--init", "--hostname=localhost")
HARDENED = (*NAMED, "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
LARGEST_GB = 2.1


def run(docker: Docker, *words: object) -> str:
    return docker("run", "--rm", "--network=none", *HARDENED, *words)


def sh(docker: Docker, image: str, script: str) -> str:
    return run(docker, "--entrypoint=sh", image, "-c", script)


def test_the_demo_passes_with_two_workers_and_without_a_network(docker: Docker, image: str) -> None:
    docker("volume", "create", "demo")
    said = run(docker, "--volume=demo:/data", image, "demo", "--workers=2", "--out=/data/demo", "--epochs=3")
    assert "[5/6] report" in said, said
    files = run(docker, "--volume=demo:/data", "--entrypoint=cat", image, "/data/demo/run/events.jsonl")
    events = [json.loads(line) for line in files.splitlines()]
    assert [one["world_size"] for one in events if one.get("state") == "starting"] == [2]
    assert events[-1]["state"] == "completed"
    script = "test -s /data/demo/report.html && stat -c %u /data/demo/report.html"
    assert run(docker, "--volume=demo:/data", "--entrypoint=sh", image, "-c", script).strip() == "1000"
    docker("volume", "rm", "demo")


def test_nobody_special_writes_to_named_places_alone(docker: Docker, image: str) -> None:
    places = "/ /app /app/.venv /etc /usr/bin /scans /data /tmp"
    script = f"id -u; for place in {places}; do (: >$place/written) 2>/dev/null && echo $place; done; true"
    assert sh(docker, image, script).split() == ["1000", "/data", "/tmp"]


def test_what_builds_and_fetches_is_not_in_it(docker: Docker, image: str) -> None:
    assert sh(docker, image, "for tool in cc c++ make cmake pip node npm; do command -v $tool; done; true") == ""
    script = "find /app -name '*.a' -o -name '*.h' -path '*/tensorflow/*' -o -perm -4000 | head"
    assert sh(docker, image, script) == ""
    found = json.loads(docker("image", "inspect", image))[0]
    assert found["Size"] < LARGEST_GB * 1e9, found["Size"]


def test_all_parts_are_there(docker: Docker, image: str) -> None:
    """The doctor finds TensorFlow and Horovod, and the console has its scripts."""
    said = run(docker, image, "doctor")
    assert said.splitlines()[-1] == "Ready to train: yes. Ready for several workers: yes. Ready to serve: yes.", said
    script = "from r2d2_web.browser_code import missing; import segeval.counting; print(missing())"
    assert run(docker, "--entrypoint=python", image, "-c", script).strip() == "[]"


def test_health_of_what_serves_nothing(docker: Docker, image: str) -> None:
    assert run(docker, "--entrypoint=python", image, "/app/healthy.py") == ""


def test_a_server_is_healthy_while_it_and_its_engine_answer(docker: Docker, image: str) -> None:
    name = docker("run", "--detach", "--rm", "--network=none", *HARDENED, image, "serve").strip()
    try:
        ask = ("exec", name, "python", "/app/healthy.py")
        assert "refused" in docker(*ask, check=False) or "No such file" in docker(*ask, check=False)
        docker(
            "exec",
            name,
            "sh",
            "-c",
            "for i in $(seq 600); do python /app/healthy.py && exit; sleep 0.5; done; exit 1",
        )
        docker("exec", name, "rm", "/data/engine/engine.sock")
        assert "No such file" in docker(*ask, check=False)
    finally:
        docker("rm", "--force", "--volumes", name)
