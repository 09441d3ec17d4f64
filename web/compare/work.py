"""``python -m web.compare.work``: what compares evaluations for the page, in a process of its own that gives way.

Its settings come as JSON at standard input; at standard output it says what the page shows, or why there is nothing.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.tasks.comparison import CompareSettings, compare
from r2d2.tasks.comparison_words import worded

__all__ = ["main"]

NICENESS = 10


def main() -> int:
    """Compare once; gives the exit code."""
    os.nice(NICENESS)
    settings = CompareSettings.model_validate_json(sys.stdin.buffer.read())
    try:
        said: dict[str, Any] = worded(compare(settings))
    except R2D2Error as error:
        said = {"faults": list(getattr(error, "faults", ())) or [str(error)]}
    sys.stdout.write(json.dumps(said, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
