"""The zoo: models listed and shown, fetched and published, and applied to scans that somebody brings along."""

__all__: list[str] = []
