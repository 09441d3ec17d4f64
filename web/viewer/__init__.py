"""Cases looked at: slices, and volumes in three planes and in space, with label maps laid over them."""

__all__: list[str] = []
