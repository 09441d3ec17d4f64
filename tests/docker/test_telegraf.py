"""Telegraf's configuration, by what its plugins document: no Telegraf was at hand."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.monitoring.influx.delivery import MOST_POINTS
from r2d2.monitoring.influx.points import PRECISION
from r2d2.monitoring.schema import MEASUREMENTS

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "docker" / "telegraf" / "telegraf.conf"
TEXT = FILE.read_text(encoding="utf-8")
CONTENT: dict[str, Any] = tomllib.loads(TEXT)

AGENT = {
    "interval": str,
    "round_interval": bool,
    "metric_batch_size": int,
    "metric_buffer_limit": int,
    "collection_jitter": str,
    "collection_offset": str,
    "flush_interval": str,
    "flush_jitter": str,
    "precision": str,
    "hostname": str,
    "omit_hostname": bool,
}
"""Settings of the agent with their types; like those below from Telegraf's own sample configurations (2026)."""
OF_ALL = {"alias": str, "interval": str, "startup_error_behavior": str, "tags": dict}
PLUGINS: dict[tuple[str, str], dict[str, type]] = {
    ("secretstores", "docker"): {"id": str, "path": str, "dynamic": bool},
    ("outputs", "influxdb_v2"): {
        "urls": list,
        "token": str,
        "organization": str,
        "bucket": str,
        "bucket_tag": str,
        "timeout": str,
        "content_encoding": str,
        "tls_ca": str,
    },
    ("inputs", "influxdb_v2_listener"): {
        "service_address": str,
        "max_undelivered_metrics": int,
        "read_timeout": str,
        "write_timeout": str,
        "max_body_size": str,
        "bucket_tag": str,
        "tls_cert": str,
        "tls_key": str,
        "token": str,
        "parser_type": str,
    },
    ("inputs", "cpu"): {
        "percpu": bool,
        "totalcpu": bool,
        "collect_cpu_time": bool,
        "report_active": bool,
        "core_tags": bool,
    },
    ("inputs", "mem"): {"collect_extended": bool},
    ("inputs", "disk"): {"mount_points": list, "ignore_fs": list, "ignore_mount_opts": list},
    ("inputs", "diskio"): {"devices": list, "skip_serial_number": bool, "device_tags": list, "name_templates": list},
    ("inputs", "net"): {"interfaces": list, "ignore_protocol_stats": bool},
    ("inputs", "system"): {"include": list},
    ("inputs", "nvidia_smi"): {"bin_path": str, "timeout": str},
}


def plugins() -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for kind in ("secretstores", "outputs", "inputs"):
        for name, instances in CONTENT[kind].items():
            for one in instances:
                yield (kind, name), one


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = CONTENT[kind][name]
    return found


def test_every_plugin_and_option_is_one_that_telegraf_has() -> None:
    assert set(CONTENT) == {"agent", "secretstores", "outputs", "inputs"}
    assert {name for name, _ in plugins()} == set(PLUGINS)
    for name, options in plugins():
        known = PLUGINS[name] | (OF_ALL if name[0] != "secretstores" else {})
        assert options.keys() <= known.keys(), name
        assert all(type(value) is known[option] for option, value in options.items()), name
    assert CONTENT["agent"].keys() <= AGENT.keys()
    assert all(type(value) is AGENT[option] for option, value in CONTENT["agent"].items())


def test_durations_are_written_as_telegraf_reads_them() -> None:
    found = [(key, value) for _, options in plugins() for key, value in options.items()] + [*CONTENT["agent"].items()]
    durations = [value for key, value in found if key.endswith(("interval", "jitter", "timeout"))]
    assert len(durations) >= 5 and all(re.fullmatch(r"\d+(ms|s|m)", value) for value in durations)


def test_a_host_without_gpus_stops_nothing() -> None:
    assert one("inputs", "nvidia_smi")["startup_error_behavior"] == "ignore"


def test_secrets_are_files_and_the_listener_is_for_this_host() -> None:
    secret = f"@{{{one('secretstores', 'docker')['id']}:influx_token}}"
    listener = one("inputs", "influxdb_v2_listener")
    assert one("outputs", "influxdb_v2")["token"] == listener["token"] == secret
    assert re.fullmatch(r"127\.0\.0\.1:\d+", listener["service_address"])
    assert not re.search(r"(?i)token\s*=\s*\"(?!@\{files:influx_token\}\")|password", TEXT)


def test_what_trainings_send_is_taken() -> None:
    listener, agent = one("inputs", "influxdb_v2_listener"), CONTENT["agent"]
    assert MOST_POINTS < listener["max_undelivered_metrics"] < agent["metric_buffer_limit"] - MOST_POINTS
    assert PRECISION in ("ns", "us", "ms", "s")  # that the listener reads
    assert not set(MEASUREMENTS) & set(CONTENT["inputs"])  # the plugins here name their measurements as themselves
    assert f"monitoring.influx_url=http://{listener['service_address']}" in TEXT


def test_variables_have_a_default_and_are_described() -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")
    variables = re.findall(r"\$\{(\w+)(:-[^}]+)?\}", TEXT)
    assert len(variables) == 3 and all(default for _, default in variables)
    assert all(f"`{name}`" in page for name, _ in variables)
    assert all(f"`{name}`" in page for name in CONTENT["inputs"])
