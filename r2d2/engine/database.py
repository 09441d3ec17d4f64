"""Opening a database: an SQLite file, or a server by its URL; brought up to date, and refused where that cannot be.

It is the index of jobs, or what a web server keeps of its own: a `Layout` says what is in it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, event, insert, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError

from r2d2.engine.errors import DatabaseError
from r2d2.engine.filesystem import network_file_system
from r2d2.engine.tables import HEAD, METADATA

__all__ = ["INDEX", "Layout", "open_database", "take_steps"]


@dataclass(frozen=True)
class Layout:
    """The tables that a database has.

    Attributes:
        file_name: of the SQLite file.
        metadata: the tables, as the code is written for them.
        head: the step of the migrations that they are of.
        migrations: folder with ``versions/rNNNN_*.py``.
        version_table: where the database says of which step it is; one for each layout.
        if_lost: what a user does about a database that cannot be used.
    """

    file_name: str
    metadata: MetaData
    head: str
    migrations: Path
    version_table: str
    if_lost: str


INDEX = Layout(
    file_name="index.sqlite",
    metadata=METADATA,
    head=HEAD,
    migrations=Path(__file__).parent / "migrations",
    version_table="alembic_version",
    if_lost="it is only an index: moved away, it is made anew from the jobs' folders",
)


def open_database(folder: Path, url: str | None = None, layout: Layout = INDEX) -> Engine:
    """Open a database, and bring its tables up to date.

    Args:
        folder: the engine's, for the index.
        url: as SQLAlchemy has it; None: a file in ``folder``.
        layout: what is in it.

    Returns:
        Its connections.

    Raises:
        DatabaseError: it is on a network file system, of a newer version, damaged, or not to be reached.
    """
    try:
        place = make_url(url or f"sqlite:///{folder / layout.file_name}")
        is_file = place.get_backend_name() == "sqlite"
        if is_file:
            _check_place(Path(place.database or ""))
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if is_file else {"pool_pre_ping": True}
        database = create_engine(place, **options)
        if is_file:
            event.listen(database, "connect", _set_up_sqlite)
            event.listen(database, "begin", _begin)
        _bring_up_to_date(database, layout, place.render_as_string(hide_password=True))
    except ArgumentError as error:
        shown = re.sub("//.*@", "//***@", str(url))  # it may hold a password
        raise DatabaseError(f"{shown!r} is no URL of a database, like postgresql+psycopg://user@host/name") from error
    except ModuleNotFoundError as error:
        shown = place.render_as_string(hide_password=True)
        raise DatabaseError(f"the database {shown} needs the package {error.name}; install it") from error
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        where = place.database if is_file else place.render_as_string(hide_password=True)
        hint = f"; {layout.if_lost}" if is_file else ""
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


def _bring_up_to_date(database: Engine, layout: Layout, name: str) -> None:
    found = _revision(database, layout)
    if found == layout.head:
        return
    if found is None:
        _make_tables(database, layout)
        return
    known = {path.name[1:5] for path in (layout.migrations / "versions").glob("r[0-9]*.py")}
    if found not in known:
        raise DatabaseError(
            f"the database {re.sub('^sqlite:///', '', name)} is of a newer version of R2D2 ({found}; this one knows "
            f"up to {layout.head}): use that version; {layout.if_lost}"
        )
    take_steps(database, layout)


def _make_tables(database: Engine, layout: Layout) -> None:
    """Make the tables of an empty database as they are now, without the steps that led to them."""
    version = Table(layout.version_table, MetaData(), Column("version_num", String(32), primary_key=True))
    with database.begin() as connection:
        layout.metadata.create_all(connection, checkfirst=False)
        version.create(connection)
        connection.execute(insert(version).values(version_num=layout.head))


def take_steps(database: Engine, layout: Layout) -> None:
    """Bring the tables from the layout that they have, or none, to the newest one, step by step."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(layout.migrations).replace("%", "%%"))
    steps = ScriptDirectory(str(layout.migrations))

    def upwards(revision: Any, _context: Any) -> Any:
        return steps._upgrade_revs("head", revision)

    with EnvironmentContext(config, steps, fn=upwards) as environment, database.begin() as connection:
        environment.configure(connection=connection, transactional_ddl=True, version_table=layout.version_table)
        environment.run_migrations()


def _revision(database: Engine, layout: Layout) -> str | None:
    """Read of which step the database is; None where it is empty."""
    with database.connect() as connection, suppress(OperationalError, ProgrammingError):
        row = connection.execute(text(f"SELECT version_num FROM {layout.version_table}")).first()
        return None if row is None else str(row[0])
    with database.connect() as connection:
        connection.execute(text("SELECT 1"))
    return None
