"""Compare: chosen runs and evaluations side by side: curves, settings that differ, results with tests."""

__all__: list[str] = []
