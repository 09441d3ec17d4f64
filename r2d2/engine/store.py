"""The index of all jobs: rows that are made from the jobs' folders, and found fast. Only the engine writes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, Row, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from r2d2.engine.errors import DatabaseError
from r2d2.engine.folder import ACTIVE
from r2d2.engine.models import Job, JobQuery
from r2d2.engine.tables import JOBS, TAGS, USES

__all__ = ["JobStore", "Waiting"]

_ALL_AT_ONCE = 500
_MANY = 1000
_REMEMBERED = 200
_LARGEST_REMEMBERED = 200  # jobs on a page: memory is bounded
_Read = TypeVar("_Read")
_COLUMNS = tuple(column.name for column in JOBS.columns)


@dataclass(frozen=True)
class Waiting:
    """What is to be known of a job that waits, to say whether it begins."""

    id: int
    attempt: int
    workers: int
    after: tuple[int, ...]


class JobStore:
    """Jobs by number, and what is asked about many of them.

    Args:
        database: opened by `open_database`.
        changed: called after every change, before whoever made it goes on.
    """

    def __init__(self, database: Engine, changed: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._changed = changed
        self._lock = threading.Lock()
        self._writings = 0
        self._known: dict[Hashable, Any] = {}

    def close(self) -> None:
        """Let go of all connections."""
        self._database.dispose()

    def put(self, jobs: Iterable[tuple[Job, str]]) -> None:
        """Write rows, in the place of those that there are; all or none.

        Args:
            jobs: each with the stamp of its folder.
        """
        with self._writing() as connection:
            _put(connection, list(jobs))

    def replace_all(self, jobs: Iterable[tuple[Job, str]]) -> int:
        """Write rows in the place of all others; gives their number."""
        rows = list(jobs)
        with self._writing() as connection:
            for table in (TAGS, USES, JOBS):
                connection.execute(delete(table))
            _put(connection, rows)
        return len(rows)

    def remove(self, ids: Sequence[int]) -> None:
        """Remove rows of jobs whose folders are gone."""
        with self._writing() as connection:
            _remove(connection, ids)

    def claim(self, job_id: int, attempt: int) -> bool:
        """Take a job that waits, in one conditional UPDATE; False where it does not wait any more."""
        waits = (JOBS.c.id == job_id) & (JOBS.c.state == "queued") & (JOBS.c.attempt == attempt)
        with self._writing() as connection:
            return connection.execute(update(JOBS).where(waits).values(state="starting")).rowcount == 1

    def get(self, job_id: int) -> Job | None:
        """Give a job; None: there is none of that number."""
        return self._remembered(job_id, lambda: self._get(job_id))

    def _get(self, job_id: int) -> Job | None:
        with self._reading() as connection:
            row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).first()
            return None if row is None else _jobs(connection, [row])[0]

    def page(self, query: JobQuery, without: Sequence[str] = ()) -> tuple[tuple[Job, ...], int]:
        """Give the jobs of a page, and how many there are on all pages.

        Args:
            query: which jobs.
            without: only jobs that use none of these declared folders.
        """
        if query.limit > _LARGEST_REMEMBERED:
            return self._page(query, without)
        return self._remembered((query, tuple(without)), lambda: self._page(query, without))

    def _page(self, query: JobQuery, without: Sequence[str]) -> tuple[tuple[Job, ...], int]:
        conditions = _conditions(query, without)
        by = JOBS.c[query.sort]
        ordered = (by.desc() if query.descending else by.asc()).nulls_last()
        ties = JOBS.c.id.desc() if query.descending else JOBS.c.id.asc()
        with self._reading() as connection:
            total = connection.execute(select(func.count()).select_from(JOBS).where(*conditions)).scalar_one()
            if total > _MANY:
                conditions = _conditions(query, without, is_by_order=True)
            found = select(JOBS).where(*conditions).order_by(ordered, ties).limit(query.limit).offset(query.offset)
            return tuple(_jobs(connection, connection.execute(found).all())), int(total)

    def waiting(self, limit: int, offset: int) -> list[Waiting]:
        """Give some of the jobs that wait, in the order in which they begin."""
        columns = (JOBS.c.id, JOBS.c.attempt, JOBS.c.workers, JOBS.c.after)
        found = select(*columns).where(JOBS.c.state == "queued").order_by(JOBS.c.priority.desc(), JOBS.c.id)
        with self._reading() as connection:
            rows = connection.execute(found.limit(limit).offset(offset)).all()
        return [Waiting(row.id, row.attempt, row.workers, tuple(json.loads(row.after))) for row in rows]

    def of_states(self, states: Sequence[str]) -> list[Job]:
        """Give all jobs of some states."""
        with self._reading() as connection:
            return _jobs(connection, connection.execute(select(JOBS).where(JOBS.c.state.in_(list(states)))).all())

    def states(self, ids: Sequence[int]) -> dict[int, str]:
        """Give the states of jobs; those that are not there are left out."""
        if not ids:
            return {}
        with self._reading() as connection:
            rows = connection.execute(select(JOBS.c.id, JOBS.c.state).where(JOBS.c.id.in_(list(ids)))).all()
        return {row.id: row.state for row in rows}

    def used_by_makers(self, paths: Iterable[Path]) -> set[str]:
        """Give the declared folders that those jobs use whose output holds one of some paths, or lies in it."""
        found: set[str] = set()
        with self._reading() as connection:
            for path in dict.fromkeys(paths):
                around = [str(folder) for folder in (path, *path.parents)]
                is_maker = JOBS.c.output.in_(around) | JOBS.c.output.startswith(f"{path}/", autoescape=True)
                makers = select(JOBS.c.id).where(is_maker)
                found.update(connection.execute(select(USES.c.root).where(USES.c.job_id.in_(makers))).scalars())
        return found

    def stamps(self) -> dict[int, str]:
        """Give the stamp of each job's folder, as it was when the row was made."""
        with self._reading() as connection:
            rows = connection.execute(select(JOBS.c.id, JOBS.c.stamp, JOBS.c.state)).all()
        # a row that was claimed says so, and its folder does not yet: it is read again
        return {row.id: row.stamp if row.state not in ACTIVE else "" for row in rows}

    def _remembered(self, question: Hashable, read: Callable[[], _Read]) -> _Read:
        """Give what was read before, unless something was written since: many ask for the same again and again."""
        with self._lock:
            if question in self._known:
                known: _Read = self._known[question]
                return known
            writings = self._writings
        found = read()
        with self._lock:
            if writings == self._writings:  # else it may be of before that
                while len(self._known) >= _REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[question] = found
        return found

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with _named(), self._database.begin() as connection:
                yield connection
        finally:
            with self._lock:
                self._writings += 1
                self._known.clear()
                self._changed()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _named(), self._database.connect() as connection:
            yield connection


@contextmanager
def _named() -> Iterator[None]:
    """Say in a line what the database says."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DatabaseError(f"the index of jobs cannot be used: {reason}") from error


def _put(connection: Connection, jobs: Sequence[tuple[Job, str]]) -> None:
    if not jobs:
        return
    _remove(connection, [job.id for job, _ in jobs])
    connection.execute(insert(JOBS), [_row(job, stamp) for job, stamp in jobs])
    tags = [{"job_id": job.id, "tag": tag} for job, _ in jobs for tag in dict.fromkeys(job.tags)]
    uses = [{"job_id": job.id, "root": root} for job, _ in jobs for root in dict.fromkeys(job.uses)]
    for table, rows in ((TAGS, tags), (USES, uses)):
        if rows:
            connection.execute(insert(table), rows)


def _remove(connection: Connection, ids: Sequence[int]) -> None:
    for table, column in ((TAGS, TAGS.c.job_id), (USES, USES.c.job_id), (JOBS, JOBS.c.id)):
        one = delete(table).where(column == bindparam("one"))
        if ids:
            connection.execute(one, [{"one": job_id} for job_id in ids])


def _row(job: Job, stamp: str) -> Mapping[str, Any]:
    values = {**job.model_dump(include=set(_COLUMNS)), "after": json.dumps(job.after), "stamp": stamp}
    return {name: values[name] for name in _COLUMNS}


def _conditions(query: JobQuery, without: Sequence[str], *, is_by_order: bool = False) -> list[Any]:
    """Give what jobs must be. Where nearly all are, they are looked at in their order until a page is full.

    Else the database would gather all of one state or task, and then sort them: it does not see that a page is short.
    """
    state, task = (column.concat("") if is_by_order else column for column in (JOBS.c.state, JOBS.c.task))
    conditions: list[Any] = []
    if query.states:
        conditions.append(state.in_(query.states))
    if query.tasks:
        conditions.append(task.in_(query.tasks))
    if query.text:
        conditions.append(func.lower(JOBS.c.name).contains(query.text.lower(), autoescape=True))
    if query.after:
        conditions += [JOBS.c.id > min(query.after), or_(*map(_comes_after, query.after))]
    conditions += [JOBS.c.id.in_(select(TAGS.c.job_id).where(TAGS.c.tag == tag)) for tag in query.tags]
    if without:
        conditions.append(JOBS.c.id.not_in(select(USES.c.job_id).where(USES.c.root.in_(list(without)))))
    return conditions


def _comes_after(job_id: int) -> Any:
    """Whether a number is in the column `after`, which is JSON: followed by what no digit is, and so before it."""
    return or_(*(JOBS.c.after.like(f"%{before}{job_id}{behind}%") for before in ("[", " ") for behind in ",]"))


def _jobs(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    """Make jobs of rows, with their tags and the declared folders that they use."""
    ids = [row.id for row in rows]
    tags, uses = (_words(connection, column, ids) for column in (TAGS.c.tag, USES.c.root))
    return [_job(row, tags.get(row.id, []), uses.get(row.id, [])) for row in rows]


def _words(connection: Connection, column: Column[str], ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    table = column.table
    for begin in range(0, len(ids), _ALL_AT_ONCE):
        wanted = table.c.job_id.in_(ids[begin : begin + _ALL_AT_ONCE])
        for job_id, word in connection.execute(select(table.c.job_id, column).where(wanted).order_by(column)):
            found.setdefault(job_id, []).append(word)
    return found


def _job(row: Row[Any], tags: Sequence[str], uses: Sequence[str]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    del values["stamp"]
    after = () if values["after"] == "[]" else json.loads(values["after"])
    return Job.model_validate({**values, "after": after, "tags": tags, "uses": uses})
