"""MLflow's names for what is recorded: each figure has one, and none is another's."""

import pytest

from r2d2.monitoring.mlflow.metrics import figures_of_record
from r2d2.monitoring.schema import MEASUREMENTS, key_of

NOT_SHOWN = {"work.step"}
"""Figures that are no metrics: what is a metric's step already."""


@pytest.mark.parametrize(("measurement", "own"), [("host", None), ("gpu", "0"), ("worker", "3"), ("work", None)])
def test_every_figure_is_a_metric_under_a_name_of_its_own(measurement: str, own: str | None) -> None:
    fields = [field.name for field in MEASUREMENTS[measurement].fields]
    keys = {key_of(measurement, field, own): field for field in fields} | {
        "host.memory_total_bytes": "",
        "gpu.0.memory_total_bytes": "",
    }
    for key in keys.keys() - NOT_SHOWN - {"host.memory_total_bytes", "gpu.0.memory_total_bytes"}:
        (figure,) = figures_of_record({"time": 5.0, "seconds": 1.0, key: 1e6}, "a", 0.0, "a")
        assert figure.name.startswith("system/"), key
    record = {"time": 5.0, "seconds": 1.0, **dict.fromkeys(keys, 2000000.0)}
    names = [figure.name for figure in figures_of_record(record, "a", 0.0, "a")]
    assert len(names) == len(set(names))


def test_megabytes_and_percentages_are_mlflows() -> None:
    record = {"time": 5.0, "seconds": 1.0, "host.memory_used_bytes": 3e9, "host.memory_total_bytes": 4e9}
    record |= {"gpu.1.memory_used_bytes": 1e9, "gpu.1.memory_total_bytes": 8e9}
    found = {figure.name: figure.value for figure in figures_of_record(record, "a", 0.0, "a")}
    assert found == {
        "system/system_memory_usage_megabytes": 3000,
        "system/system_memory_usage_percentage": 75,
        "system/gpu_1_memory_usage_megabytes": 1000,
        "system/gpu_1_memory_usage_percentage": 12.5,
    }


def test_other_hosts_have_their_name_in_it() -> None:
    record = {"time": 5.0, "seconds": 1.0, "host.cpu_percent": 5, "gpu.0.power_watts": 7, "worker.2.cpu_percent": 9}
    names = [figure.name for figure in figures_of_record(record, "node.2", 0.0, "node1")]
    assert names == [
        "system/node_2/cpu_utilization_percentage",
        "system/node_2/gpu_0_power_usage_watts",
        "system/worker_2/cpu_utilization_percentage",
    ]
