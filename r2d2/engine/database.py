"""Opening the index: an SQLite file, or a server by its URL; brought up to date, and refused where that cannot be."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError

from r2d2.engine.errors import DatabaseError
from r2d2.engine.filesystem import network_file_system
from r2d2.engine.tables import HEAD

__all__ = ["open_database"]

FILE_NAME = "index.sqlite"
_STEPS = Path(__file__).parent / "migrations"


def open_database(work_root: Path, url: str | None = None) -> Engine:
    """Open the index, and bring its layout up to date.

    Args:
        work_root: the engine's folder.
        url: as SQLAlchemy has it; None: a file in ``work_root``.

    Returns:
        Its connections.

    Raises:
        DatabaseError: it is on a network file system, of a newer version, damaged, or not to be reached.
    """
    try:
        place = make_url(url or f"sqlite:///{work_root / FILE_NAME}")
        is_file = place.get_backend_name() == "sqlite"
        if is_file:
            _check_place(Path(place.database or ""))
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if is_file else {"pool_pre_ping": True}
        database = create_engine(place, **options)
        if is_file:
            event.listen(database, "connect", _set_up_sqlite)
            event.listen(database, "begin", _begin)
        _bring_up_to_date(database, place.render_as_string(hide_password=True))
    except ArgumentError as error:
        raise DatabaseError(f"{url!r} is no URL of a database, like postgresql+psycopg://user@host/name") from error
    except ModuleNotFoundError as error:
        raise DatabaseError(f"the database {url} needs the package {error.name}; install it") from error
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        where = place.database if is_file else place.render_as_string(hide_password=True)
        hint = "; it is only an index: moved away, it is made anew from the jobs' folders" if is_file else ""
        raise DatabaseError(f"the database {where} cannot be used ({reason}){hint}") from error
    return database


def _check_place(file: Path) -> None:
    kind = network_file_system(file.parent)
    if kind is not None:
        raise DatabaseError(
            f"{file.parent} is on a network file system ({kind}), where SQLite loses data: name a folder of this "
            "host, or a PostgreSQL database by its URL"
        )


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.isolation_level = None  # else Python ends a transaction where a table is made


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _bring_up_to_date(database: Engine, name: str) -> None:
    found = _revision(database)
    if found == HEAD:
        return
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    known = {path.name[1:5] for path in (_STEPS / "versions").glob("r[0-9]*.py")}
    if found is not None and found not in known:
        raise DatabaseError(
            f"the database {re.sub('^sqlite:///', '', name)} is of a newer version of R2D2 ({found}; this one knows "
            f"up to {HEAD}): use that version, or move the file away, and it is made anew from the jobs' folders"
        )
    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    steps = ScriptDirectory(str(_STEPS))

    def upwards(revision: Any, _context: Any) -> Any:
        return steps._upgrade_revs("head", revision)

    with EnvironmentContext(config, steps, fn=upwards) as environment, database.begin() as connection:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def _revision(database: Engine) -> str | None:
    """Read of which step the database is; None where it is empty."""
    with database.connect() as connection, suppress(OperationalError, ProgrammingError):
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
        return None if row is None else str(row[0])
    with database.connect() as connection:
        connection.execute(text("SELECT 1"))
    return None
