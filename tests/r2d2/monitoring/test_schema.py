import re
from pathlib import Path

from dist_training.record.events import EpochEnded, StepTaken
from r2d2.monitoring.schema import MEASUREMENTS, key_of, split_key

PAGE = Path(__file__).resolve().parents[3] / "docs" / "monitoring.md"


def test_the_page_describes_all_that_lies_in_files_and_nothing_else() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    described = {key for row in rows for key in re.findall(r"`([a-z]+\.[A-Za-z_.]+)`", row)}
    expected = {
        key_of(one.name, field.name, None if one.own_tag is None else one.own_tag.upper())
        for one in MEASUREMENTS.values()
        if one.name in ("host", "worker", "gpu", "work")
        for field in one.fields
    }
    assert described == expected


def test_the_page_describes_all_points_that_are_sent_and_nothing_else() -> None:
    part = PAGE.read_text(encoding="utf-8").partition("### What arrives")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `([a-z]+)` \|(.*?)\|(.*?)\|$", part, re.MULTILINE)
    described = {name: [re.findall(r"`(\w+)`", cell) for cell in cells] for name, *cells in rows}
    assert described == {
        one.name: [list(one.tags), [field.name for field in one.fields]] for one in MEASUREMENTS.values()
    }


def test_what_lies_in_events_has_the_names_that_they_have() -> None:
    for name, event in (("step", StepTaken), ("epoch", EpochEnded)):
        assert {field.name for field in MEASUREMENTS[name].fields} <= set(event.model_fields)


def test_keys_are_read_as_they_were_made() -> None:
    for one in MEASUREMENTS.values():
        for field in one.fields:
            own = None if one.own_tag is None else "0"
            assert split_key(key_of(one.name, field.name, own)) == (one.name, own, field.name)
