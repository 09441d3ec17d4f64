"""Grafana's dashboards, by its published types, Influx's own parser of Flux, and our schema: no Grafana was at hand."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from r2d2.monitoring.dashboards import DASHBOARDS, SOURCE, Panel, dashboard, flux, write_dashboards
from r2d2.monitoring.schema import MEASUREMENTS

HERE = Path(__file__).resolve().parents[1]
PROVISIONED = HERE.parent / "docker" / "grafana" / "provisioning"
NODE = Path(sys.prefix) / "bin" / "node"
PACKAGES = Path(sys.prefix) / "node" / "node_modules"
GRAFANAS = 'v = {timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 10s, defaultBucket: "r2d2"}\n'
"""What Grafana puts before a query."""


def queries(name: str) -> list[str]:
    made = dashboard(name)
    of_panels = [target["query"] for panel in made["panels"] for target in panel["targets"]]
    return of_panels + [one["query"] for one in made["templating"]["list"] if one["type"] == "query"]


def sent(query: str) -> str:
    """Give a query as Grafana sends it: variables put in, and its own record before all but imports."""
    filled = re.sub(r"\$\{\w+:regex\}", "(a|b)", query)
    imports = "".join(re.findall(r'^import "[^"]+"\n', filled, re.MULTILINE))
    rest = filled.removeprefix(imports)
    return f"{imports}{GRAFANAS}{rest}"


def are_valid(scripts: list[str]) -> list[bool]:
    command = [str(NODE), str(HERE / "node" / "flux.mjs"), str(PACKAGES / "@influxdata" / "flux-lsp-browser")]
    done = subprocess.run(command, input=json.dumps(scripts), capture_output=True, text=True, timeout=300, check=True)
    return [line == "true" for line in done.stdout.split()]


def faults(folder: Path, dashboards: dict[str, Any]) -> str:
    """Say what Grafana's types find wrong."""
    (folder / "node_modules").symlink_to(PACKAGES)
    head = 'import type { Dashboard } from "@grafana/schema";\nexport const made: Dashboard = '
    for name, made in dashboards.items():
        (folder / f"{name}.ts").write_text(f"{head}{json.dumps(made)};\n")
    compiler = [str(NODE), str(PACKAGES / "typescript" / "lib" / "tsc.js"), "--noEmit", "--strict", "--skipLibCheck"]
    options = ["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"]
    command = [*compiler, *options, *(f"{name}.ts" for name in dashboards)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False).stdout


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_files_are_what_is_made(name: str, tmp_path: Path) -> None:
    write_dashboards(tmp_path)
    file = PROVISIONED / "dashboards" / f"{name}.json"
    assert file.read_text(encoding="utf-8") == (tmp_path / file.name).read_text(encoding="utf-8"), (
        "python -m r2d2.monitoring.dashboards docker/grafana/provisioning/dashboards writes them anew"
    )


def test_influx_finds_every_query_right() -> None:
    scripts = [sent(query) for name in DASHBOARDS for query in queries(name)]
    wrong = [scripts[0].replace("aggregateWindow", "agregateWindow"), scripts[0].replace("v.windowPeriod", "v.window")]
    assert are_valid([*scripts, *wrong]) == [True] * len(scripts) + [False] * len(wrong)


def test_grafana_finds_its_types_right(tmp_path: Path) -> None:
    made = {name: dashboard(name) for name in DASHBOARDS}
    assert faults(tmp_path, made) == ""
    (tmp_path / "node_modules").unlink()
    assert "is not assignable to type 'number'" in faults(tmp_path, {"wrong": {**made["fleet"], "schemaVersion": "39"}})


def test_every_figure_is_drawn_and_no_other() -> None:
    drawn = {(panel.measurement, field) for panels in DASHBOARDS.values() for panel in panels for field in panel.fields}
    known = {(name, field.name) for name, one in MEASUREMENTS.items() for field in one.fields}
    of_no_use = {("work", "step"), *(("epoch", name) for name in ("loss", "epoch", "seconds", "validation_seconds"))}
    assert drawn == known - of_no_use
    with pytest.raises(ValueError, match="step has no los, rank"):
        Panel("Loss", "step", ("los",), ("rank",))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_queries_name_what_the_schema_has(name: str) -> None:
    """Read from the file, whoever wrote it."""
    made = json.loads((PROVISIONED / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    texts = [target["query"] for panel in made["panels"] for target in panel["targets"]]
    assert texts
    for text in texts:
        (measurement,) = re.findall(r'r\._measurement == "(\w+)"', text)
        fields = re.findall(r'r\._field == "(\w+)"', text)
        known = MEASUREMENTS[measurement]
        assert fields and set(fields) <= {field.name for field in known.fields}, text
        columns = {one for group in re.findall(r"group\(columns: (\[.*?\])", text) for one in json.loads(group)}
        tags = (columns | set(re.findall(r"r\.(\w+)\b", text))) - {"_field", "_measurement"}
        assert tags <= {"job", "run", *known.tags}, text


def test_uids_are_those_of_the_data_source_and_links_lead_somewhere() -> None:
    (source,) = yaml.safe_load((PROVISIONED / "datasources" / "influxdb.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == (SOURCE["uid"], SOURCE["type"])
    (provider,) = yaml.safe_load((PROVISIONED / "dashboards" / "r2d2.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    made = {name: dashboard(name) for name in DASHBOARDS}
    uids = {one["uid"] for one in made.values()}
    for one in made.values():
        assert {link["url"].removeprefix("/d/") for link in one["links"][1:]} == uids - {one["uid"]}
        names = {variable["name"] for variable in one["templating"]["list"]}
        used = set(re.findall(r"\$\{(\w+)[:}]", json.dumps(one))) - {"__field"}
        assert used <= names
        assert len({panel["id"] for panel in one["panels"]}) == len(one["panels"])


def test_a_run_is_told_from_others() -> None:
    assert '["job", "run", "rank", "_field"]' in flux(Panel("x", "work", ("input",), ("rank",)))
