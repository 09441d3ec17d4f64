"""Grafana's dashboards of all that goes to InfluxDB, made by the one schema.

``python -m r2d2.monitoring.dashboards FOLDER`` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.monitoring.schema import MEASUREMENTS, SHARES

__all__ = ["DASHBOARDS", "Panel", "dashboard", "write_dashboards"]

SOURCE = {"type": "influxdb", "uid": "r2d2-influxdb"}
"""As `docker/grafana/provisioning/datasources` names it."""
CONSOLE = "http://127.0.0.1:8017"
_WIDTH, _HEIGHT = 12, 8  # of 24 columns; rows of Grafana's grid
_SCHEMA = 39


@dataclass(frozen=True)
class Panel:
    """Curves of one measurement.

    Attributes:
        title: of the picture.
        measurement: by the schema.
        fields: of it, drawn together.
        by: tags that tell curves apart, besides the run; what is not told apart is averaged.
        unit: as Grafana names it.
        is_stacked: whether curves are laid upon each other.
    """

    title: str
    measurement: str
    fields: tuple[str, ...]
    by: tuple[str, ...] = ()
    unit: str = "short"
    is_stacked: bool = False

    def __post_init__(self) -> None:
        known = MEASUREMENTS[self.measurement]
        unknown = {*self.fields} - {one.name for one in known.fields} | {*self.by} - {*known.tags}
        if unknown:
            raise ValueError(f"{self.title}: {self.measurement} has no {', '.join(sorted(unknown))}")


TRAINING = (
    Panel("Loss", "step", ("loss",)),
    Panel("Validation Dice, mean over labels", "epoch", ("validation_dice",)),
    Panel("Validation Dice of each label", "label", ("validation_dice",), ("label",)),
    Panel("Learning rate", "step", ("learning_rate",)),
    Panel("Images per second, all workers", "step", ("images_per_second",)),
    Panel("Images per second of each worker", "work", ("images_per_second",), ("rank",)),
    Panel("What workers spend their time on", "work", SHARES, (), "percentunit", is_stacked=True),
    Panel("Waiting for input, by worker", "work", ("input",), ("rank",), "percentunit"),
    Panel("Exchange, by worker", "work", ("exchange",), ("rank",), "percentunit"),
)
SYSTEM = (
    Panel("Processors of hosts", "host", ("cpu_percent",), ("host",), "percent"),
    Panel(
        "Memory of hosts", "host", ("memory_used_bytes", "memory_total_bytes", "memory_limit_bytes"), ("host",), "bytes"
    ),
    Panel("Disks", "host", ("disk_read_bytes_per_second", "disk_written_bytes_per_second"), ("host",), "Bps"),
    Panel("Free on the disk of the run", "host", ("disk_free_bytes",), ("host",), "bytes"),
    Panel("Network", "host", ("network_received_bytes_per_second", "network_sent_bytes_per_second"), ("host",), "Bps"),
    Panel("Processor of each worker (100: one core)", "worker", ("cpu_percent",), ("host", "rank"), "percent"),
    Panel("Memory of each worker", "worker", ("memory_bytes", "gpu_memory_bytes"), ("host", "rank"), "bytes"),
    Panel("Load of GPUs", "gpu", ("load_percent",), ("host", "device"), "percent"),
    Panel("Memory of GPUs", "gpu", ("memory_used_bytes", "memory_total_bytes"), ("host", "device"), "bytes"),
    Panel("Power of GPUs", "gpu", ("power_watts",), ("host", "device"), "watt"),
    Panel("Temperature of GPUs", "gpu", ("temperature_celsius",), ("host", "device"), "celsius"),
    Panel("Energy of GPUs in this run", "gpu", ("energy_wh",), ("host", "device"), "watth"),
)
FLEET = (
    Panel("Validation Dice", "epoch", ("validation_dice",)),
    Panel("Images per second", "step", ("images_per_second",)),
    Panel("Steps done", "step", ("step",)),
    Panel("Processors of hosts", "host", ("cpu_percent",), ("host",), "percent"),
)
DASHBOARDS = {"training": TRAINING, "system": SYSTEM, "fleet": FLEET}


def dashboard(name: str) -> dict[str, Any]:
    """Make one, as Grafana reads it.

    Args:
        name: of `DASHBOARDS`.
    """
    panels = DASHBOARDS[name]
    made = [_drawn(one, number) for number, one in enumerate(panels)]
    if name == "fleet":
        made.append(_table(len(panels)))
    links = [{"title": "R2D2's console", "type": "link", "url": "${console}/jobs", "targetBlank": True}]
    links += [
        {"title": other.capitalize(), "type": "link", "url": f"/d/r2d2-{other}", "includeVars": True, "keepTime": True}
        for other in DASHBOARDS
        if other != name
    ]
    shared = {"icon": "external link", "tooltip": "", "tags": [], "asDropdown": False}
    return {
        "uid": f"r2d2-{name}",
        "title": f"R2D2 {name}",
        "tags": ["r2d2"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"targetBlank": False, "includeVars": False, "keepTime": False, **shared, **one} for one in links],
        "templating": {"list": list(_variables())},
        "panels": made,
    }


def _variables() -> Iterator[dict[str, Any]]:
    """Give job, run and host, to choose from what there is, and where the console is."""
    with_job = 'predicate: (r) => (if exists r.job then r.job else "") =~ /^${job:regex}$/'
    for name, more in (("job", ""), ("run", f", {with_job}"), ("host", "")):
        query = 'import "influxdata/influxdb/schema"\n'
        query += f'schema.tagValues(bucket: v.defaultBucket, tag: "{name}"{more}, start: v.timeRangeStart)'
        yield {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
    yield {"name": "console", "type": "textbox", "query": CONSOLE, "current": {"text": CONSOLE, "value": CONSOLE}}


def _drawn(panel: Panel, number: int) -> dict[str, Any]:
    own = [f"${{__field.labels.{tag}}}" for tag in ("run", *panel.by)]
    name = " ".join([*own, *(["${__field.labels._field}"] if len(panel.fields) > 1 else [])])
    stacked = {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30}
    link = {"title": "Job in the console", "url": "${console}/jobs/${__field.labels.job}", "targetBlank": True}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": _meaning(panel),
        "datasource": SOURCE,
        "gridPos": _place(number, _WIDTH),
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "displayName": name,
                "custom": stacked if panel.is_stacked else {},
                "links": [link],
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": "A", "datasource": SOURCE, "query": flux(panel)}],
    }


def flux(panel: Panel) -> str:
    """Write the query of a panel."""
    tags = ["job", "run", *panel.by, "_field"]
    own = ["  |> filter(fn: (r) => r.host =~ /^${host:regex}$/)"] if "host" in panel.by else []
    lines = [
        *_chosen(panel.measurement, panel.fields),
        *own,
        f"  |> group(columns: {json.dumps(tags)})",
        "  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)",
    ]
    return "\n".join(lines)


def _chosen(measurement: str, fields: Sequence[str]) -> list[str]:
    wanted = " or ".join(f'r._field == "{field}"' for field in fields)
    return [
        "from(bucket: v.defaultBucket)",
        "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)",
        f'  |> filter(fn: (r) => r._measurement == "{measurement}" and ({wanted}))',
        "  |> filter(fn: (r) => r.run =~ /^${run:regex}$/)",
    ]


def _table(number: int) -> dict[str, Any]:
    """Make the list of runs, with what each said last."""
    lines = [
        *_chosen("epoch", ("epoch", "loss", "validation_dice")),
        '  |> group(columns: ["run", "_field"])',
        "  |> last()",
        "  |> group()",
        '  |> pivot(rowKey: ["run"], columnKey: ["_field"], valueColumn: "_value")',
    ]
    return {
        "id": number + 1,
        "type": "table",
        "title": "Last epoch of each run",
        "datasource": SOURCE,
        "gridPos": _place(number, 2 * _WIDTH),
        "fieldConfig": {"defaults": {}, "overrides": []},
        "targets": [{"refId": "A", "datasource": SOURCE, "query": "\n".join(lines)}],
    }


def _place(number: int, width: int) -> dict[str, int]:
    return {"x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT, "w": width, "h": _HEIGHT}


def _meaning(panel: Panel) -> str:
    means = {one.name: one.meaning for one in MEASUREMENTS[panel.measurement].fields}
    return "; ".join(f"{field}: {means[field]}" for field in panel.fields)


def write_dashboards(folder: Path) -> None:
    """Write all of them, a file each."""
    for name in DASHBOARDS:
        (folder / f"{name}.json").write_text(json.dumps(dashboard(name), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_dashboards(Path(sys.argv[1]))
