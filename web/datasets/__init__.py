"""Datasets: folders gone through and inspected, prepared from the page, and what is prepared shown."""

__all__: list[str] = []
