"""Make the secrets of the services at their first start: a file each, 0600, in the folder that is named."""

import os
import secrets
import sys
from pathlib import Path

NAMES = ("influx_password", "influx_token", "grafana_password")
"""InfluxDB: password of the user `r2d2`, and the token by which all services write and read; Grafana: of `admin`."""


def make(folder: Path) -> list[str]:
    """Make what is missing, and change nothing that is there; gives what was made."""
    made = []
    for name in NAMES:
        try:
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(32))
        made.append(name)
    return made


def main() -> int:
    """Make them, and say where they are; never what they are."""
    folder = Path(sys.argv[1])
    try:
        made = make(folder)
    except OSError as error:
        print(f"the secrets cannot be made: {error}; remove the volume, or give it to user {os.getuid()}")
        return 1
    print(f"{'made' if made else 'found'} in the volume 'secrets', {folder}: {', '.join(made or NAMES)}")
    print("Grafana, user admin:    docker compose exec engine cat /run/secrets/grafana_password")
    print("InfluxDB, user r2d2:    docker compose exec engine cat /run/secrets/influx_password")
    print("R2D2, user admin:       docker compose exec engine cat /data/engine/web/password")
    return 0


if __name__ == "__main__":
    sys.exit(main())
