"""Logging in and out; what anybody may see."""

__all__: list[str] = []
