"""``python -m r2d2`` is ``r2d2``."""

from r2d2.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
