"""What happens now, and what ended lately."""

__all__: list[str] = []
