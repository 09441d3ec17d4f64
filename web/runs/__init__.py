"""Jobs: all of them, and each by itself; of a training its run."""

__all__: list[str] = []
