"""Cases as they are looked at: which files they are, their slices as pictures, their volumes for a browser."""

__all__: list[str] = []
