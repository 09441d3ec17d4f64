"""What a worker knows of its device."""

import pytest

from dist_training.ranks import devices


@pytest.mark.parametrize(
    ("dtype", "computes", "expected"),
    [
        ("mixed_bfloat16", False, True),
        ("mixed_float16", False, True),
        ("mixed_bfloat16", True, False),
        ("mixed_bfloat16", None, False),
        ("float32", False, False),
    ],
)
def test_a_precision_is_slow_where_the_processor_lacks_it(
    dtype: str, computes: bool | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(devices, "processor_computes_in", lambda name: (asked.append(name), computes)[1])
    assert devices.is_slow_here(dtype) is expected
    assert asked == [dtype.removeprefix("mixed_")] * dtype.startswith("mixed_")
