"""``python -m web FD``: what `r2d2 serve` starts; its settings come as JSON through a file descriptor."""

from __future__ import annotations

import os
import sys

from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error


def _said(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the terminal of who started it)


def main() -> int:
    """Serve; gives the exit code. A user's mistake is one line."""
    try:
        import json

        with os.fdopen(int(sys.argv[1]), "rb") as stream:
            told = json.load(stream)
        if told.pop("fetch_assets", False):
            from .browser_code import FOLDER, fetch

            _said(f"fetched {', '.join(fetch()) or 'nothing: all is there'} into {FOLDER}")
            return 0
        from .serve_settings import ServeSettings
        from .server import new_password, serve

        name = told.pop("new_password", None)
        settings = validated(ServeSettings, told, "settings of the server")
        if name is not None:
            new_password(settings, name, _said)
        else:
            serve(settings, _said)
    except ModuleNotFoundError as error:
        print(f"r2d2: the server needs {error.name}: pip install 'r2d2[serve]'", file=sys.stderr)  # noqa: T201
        return 2
    except R2D2Error as error:
        print(f"r2d2: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
