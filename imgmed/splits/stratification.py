"""Distribution of groups of cases over parts of given sizes, so that rare labels reach every part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = ["distribute"]

Part = TypeVar("Part", bound=Hashable)
Labels = Mapping[str, frozenset[int]]


def distribute(
    order: Sequence[str],
    labels: Labels,
    seats: Sequence[Part],
    settled: Mapping[str, Part],
    parts: Sequence[Part],
) -> dict[str, Part]:
    """Give every group of `order` a seat; the sizes are those of `seats`, whatever the labels.

    Greedy and without chance of its own: the label with the fewest waiting groups comes first; each of its
    groups, in the given order, goes to the part that lacks that label most, then to the part with the most
    seats left. Groups without such a label take the seats that are left, in order. A label that every group
    has decides nothing.

    Args:
        order: the groups to be placed.
        labels: {group: labels found in it}, for the groups of `order` and of `settled`.
        seats: the part of each place to be given, as many as there are groups in `order`.
        settled: {group: part} of the groups that have their place already; they count, and stay.
        parts: all parts; a label with fewer groups than parts reaches the first of them.

    Returns:
        {group: part} of the groups in `order`.

    Source: iterative stratification after Sechidis, Tsoumakas and Vlahavas, "On the stratification of
    multi-label data", ECML PKDD 2011; here with exact sizes, and at least one group a part where possible.

    >>> labels = {name: frozenset({1} if name in "ef" else ()) for name in "abcdef"}
    >>> distribute("abcdef", labels, ["test", "train", "train", "train", "train", "train"], {}, ["train", "test"])
    {'e': 'train', 'f': 'test', 'a': 'train', 'b': 'train', 'c': 'train', 'd': 'train'}
    """
    sizes = Counter([*seats, *settled.values()])
    parts = [part for part in parts if sizes[part]]
    lacking = {
        label: _lacking(groups, sizes, settled, parts)
        for label, groups in _deciding([*order, *settled], labels).items()
    }
    left = Counter(seats)  # in the order of the first seat of each part
    waiting = dict.fromkeys(order)
    placed: dict[str, Part] = {}
    while (label := _rarest(waiting, labels, lacking)) is not None:
        lack = lacking[label]
        for group in [group for group in waiting if label in labels[group]]:
            part = max((part for part in left if left[part]), key=lambda part: (lack[part], left[part]))
            placed[group] = part
            left[part] -= 1
            del waiting[group]
            for other in labels[group] & lacking.keys():
                lacking[other][part] -= 1
    return placed | dict(zip(waiting, _unused(seats, left), strict=True))


def _deciding(groups: Sequence[str], labels: Labels) -> dict[int, list[str]]:
    """{label: its groups} of the labels that some, but not all, of the groups have."""
    found: dict[int, list[str]] = {}
    for group in groups:
        for label in labels[group]:
            found.setdefault(label, []).append(group)
    return {label: members for label, members in sorted(found.items()) if len(members) < len(groups)}


def _lacking(
    groups: Sequence[str], sizes: Mapping[Part, int], settled: Mapping[str, Part], parts: Sequence[Part]
) -> Counter[Part]:
    """How many of the waiting ones among these groups each part should get: one where there is none, then by size."""
    present = Counter(settled[group] for group in groups if group in settled)
    waiting = len(groups) - present.total()
    due = Counter([part for part in parts if not present[part]][:waiting])
    missing = {part: len(groups) * sizes[part] / sum(sizes.values()) - present[part] for part in parts}
    for _ in range(waiting - due.total()):
        due[max(parts, key=lambda part: missing[part] - due[part])] += 1
    return due


def _rarest(waiting: Iterable[str], labels: Labels, candidates: Mapping[int, Counter[Part]]) -> int | None:
    counts = Counter(label for group in waiting for label in labels[group] if label in candidates)
    return min(counts, key=lambda label: (counts[label], label), default=None)


def _unused(seats: Sequence[Part], left: Mapping[Part, int]) -> list[Part]:
    """The seats that were not taken, in order; of each part the first ones were."""
    taken = Counter(seats)
    taken.subtract(left)
    unused = []
    for part in seats:
        if taken[part] > 0:
            taken[part] -= 1
        else:
            unused.append(part)
    return unused
