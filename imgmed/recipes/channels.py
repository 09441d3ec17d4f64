"""Files that are numbered as the channels of one case, as nnU-Net does: "case_0000", "case_0001"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from imgmed.recipes.names import CHANNEL_DIGITS, channel_number, label_name
from imgmed.study import VolumeSource

__all__ = ["group_channels"]

MOST_CHANNELS = 8  # of one lone case; more numbered files are cases


def group_channels(
    images: Mapping[str, VolumeSource], labels: Collection[str]
) -> tuple[dict[str, tuple[VolumeSource, ...]], dict[str, str]]:
    """Gather the channels of each case.

    Args:
        images: {path without suffix: volume}.
        labels: paths of label maps, without suffix: "case" tells that "case_0000" is a channel, "case_0000" that it is
            none.

    Returns:
        {case: its volumes in the order of their numbers}, and {case that lacks a number, or path that repeats one: a
        sentence about it}.
    """
    numbers = {key: numbered for key in images if key not in labels and (numbered := channel_number(key)) is not None}
    are_channels = _are_channels(numbers.values(), labels)
    channels: dict[str, dict[int, VolumeSource]] = {}
    problems = {}
    for key, volume in images.items():
        case, number = numbers.get(key, (key, 0))
        if not are_channels and case not in labels:
            case, number = key, 0
        first = channels.setdefault(case, {}).setdefault(number, volume)
        if first is not volume:
            problems[key] = f"{volume}: same case and channel as {first.path.name}; keep one of them"
    for case, volumes in channels.items():
        lacking = sorted(set(range(max(volumes))) - volumes.keys())
        if lacking:
            names = ", ".join(f"{case}_{number:0{CHANNEL_DIGITS}d}" for number in lacking)
            problems[case] = f"{volumes[max(volumes)]}: channels are numbered from 0 on, and there is no {names}"
    complete = {case: volumes for case, volumes in channels.items() if len(volumes) == max(volumes) + 1}
    return {case: tuple(volumes[number] for number in sorted(volumes)) for case, volumes in complete.items()}, problems


def _are_channels(numbers: Collection[tuple[str, int]], labels: Collection[str]) -> bool:
    """Whether four digits at the end of names number channels, not cases, where no label tells: most begin with 0."""
    counts = Counter(case for case, _ in numbers)
    firsts = {case for case, number in numbers if number == 0}
    if 2 * len(firsts) < len(counts) or any(_is_numbered(label) for label in labels):
        return False
    return len(counts) > 1 or counts.total() <= MOST_CHANNELS


def _is_numbered(label: str) -> bool:
    named = label_name(label.rpartition("/")[2])
    return any(channel_number(name) is not None for name in (label, named.base if named else ""))
