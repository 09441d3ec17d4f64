import math

from dist_training.record.events import EpochEnded, StepTaken
from r2d2.monitoring.influx.points import lines_of_event, lines_of_record
from r2d2.monitoring.schema import MEASUREMENTS, key_of

TAGS = {"run": "liver", "job": "7", "host": "node1", "rank": "0"}


def names_in(line: str) -> tuple[str, set[str], set[str]]:
    """Measurement, tags and fields of a line without spaces in its words."""
    head, fields, _ = line.split(" ")
    measurement, *tags = head.split(",")
    return measurement, {tag.split("=")[0] for tag in tags}, {one.split("=")[0] for one in fields.split(",")}


def test_all_that_lies_in_series_is_sent_by_the_names_of_the_schema() -> None:
    for one in MEASUREMENTS.values():
        record = {key_of(one.name, field.name, None if one.own_tag is None else "3"): 1.5 for field in one.fields}
        (line,) = lines_of_record({"time": 1.0, "seconds": 1.0, "other.thing": 1.0, **record}, TAGS | {"device": "1"})
        assert names_in(line) == (one.name, {"job", "run", *one.tags}, {field.name for field in one.fields})


def test_steps_and_epochs_are_sent_by_the_names_of_the_schema() -> None:
    step = StepTaken(time=2.5, step=1, epoch=1, loss=0.5, learning_rate=0.1, seconds=1, images_per_second=3)
    epoch = EpochEnded(
        epoch=1,
        step=1,
        loss=0.5,
        validation_dice=0.5,
        validation_dice_per_label={"a": 0.25, "b": None},
        seconds=1,
        validation_seconds=2,
    )
    found = [names_in(line) for event in (step, epoch) for line in lines_of_event(event, {"run": "liver"})]
    assert [name for name, _, _ in found] == ["step", "epoch", "label"]
    for name, tags, fields in found:
        assert tags == {"run", *MEASUREMENTS[name].tags}
        assert fields == {field.name for field in MEASUREMENTS[name].fields}


def test_what_is_no_number_is_left_out() -> None:
    step = StepTaken(time=1, step=3, epoch=1, loss=math.nan, learning_rate=math.inf, seconds=1, images_per_second=2)
    assert list(lines_of_event(step, {"run": "r"})) == ["step,run=r images_per_second=2,step=3 1000000"]
    epoch = EpochEnded(epoch=1, step=1, loss=0, validation_dice_per_label={"x": None})
    assert not [line for line in lines_of_event(epoch, {"run": "r"}) if line.startswith("label")]


def test_a_name_cannot_become_another_point() -> None:
    name = "a b,c=d\nstep loss=9 1"
    (line,) = lines_of_record({"time": 1.0, "host.cpu_percent": 5}, {"run": name, "host": name})
    assert "\n" not in line and line.endswith(" cpu_percent=5 1000000")
    assert line.count(" ") - line.count("\\ ") == 2


def test_of_united_records_the_mean_counts_at_their_end() -> None:
    (line,) = lines_of_record({"time": 8.0, "seconds": 4, "host.cpu_percent": [1, 2.25, 9]}, {"run": "r", "host": "h"})
    assert line == "host,host=h,run=r cpu_percent=2.25 8000000"
