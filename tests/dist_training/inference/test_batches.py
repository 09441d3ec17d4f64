"""How many slices a network is given at once."""

import pytest

from dist_training.inference import batches as module
from dist_training.inference.batches import at_a_time, batches


@pytest.mark.parametrize("total", [1, 2, 3, 8, 9, 10, 11])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_index_comes_once_and_none_alone_where_others_are(total: int, count: int) -> None:
    found = list(batches(total, count))
    assert [index for batch in found for index in batch] == list(range(total))
    sizes = [len(batch) for batch in found]
    assert max(sizes) <= count + (count > 1)
    assert count == 1 or total == 1 or min(sizes) > 1


@pytest.mark.parametrize(
    ("size", "free", "expected"),
    [((48, 64), 0, 170), ((512, 512), 0, 2), ((1024, 1024), 600, 2), ((1024, 1024), 599, 1), ((1024, 1024), None, 1)],
)
def test_two_large_slices_are_taken_where_memory_holds_them(
    size: tuple[int, int], free: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_memory", lambda: (None, free))
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    assert at_a_time(size, needed=100) == expected
