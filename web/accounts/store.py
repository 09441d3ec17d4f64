"""Users, tokens and the audit log in their database."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from r2d2.engine.database import open_database
from r2d2.engine.errors import DatabaseError, RefusedError

from ..permissions import ROLES, SCOPES
from .models import AuditQuery, Entry, Token, User
from .passwords import check_rules, hashed, is_right, new_password
from .tables import AUDIT, CLOSED_ROOTS, LAYOUT, ROOT_USERS, TOKENS, USERS

__all__ = ["Accounts", "open_accounts"]

MOST_TOKENS = 50
LATELY_S = 1.0
"""For so long what each request asks is remembered, unless something is written here meanwhile."""
_MOST_REMEMBERED = 256
_TOKEN = re.compile(r"r2d2_([1-9][0-9]{0,9})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_OF_USER = [USERS.c[name] for name in ("id", "name", "role", "is_active", "session", "created_at")]
_OF_TOKEN = [TOKENS.c[name] for name in ("id", "user_id", "label", "scope", "created_at", "expires_at", "revoked_at")]

# asked with each request: written once
_TOKEN_AND_USER = (
    select(*_OF_TOKEN, TOKENS.c.secret_hash, *(column.label(f"u_{column.name}") for column in _OF_USER))
    .select_from(TOKENS.join(USERS, USERS.c.id == TOKENS.c.user_id))
    .where(TOKENS.c.id == bindparam("number"), USERS.c.is_active)
)
_USER_OF_SESSION = select(*_OF_USER).where(USERS.c.session == bindparam("word"), USERS.c.is_active)
_CLOSED = select(CLOSED_ROOTS.c.path)


def open_accounts(folder: Path, url: str | None = None) -> Accounts:
    """Open what a server keeps, readable by its own user alone.

    Args:
        folder: the server's.
        url: as SQLAlchemy has it; None: a file in ``folder``.

    Raises:
        DatabaseError: it cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / LAYOUT.file_name
    if url is None and not file.exists():
        file.touch(mode=0o600)
    return Accounts(open_database(folder, url, LAYOUT))


class Accounts:
    """Users by name, tokens by their secret, and what was done.

    Args:
        database: opened by `open_accounts`.
        clock: seconds since 1970.
    """

    def __init__(self, database: Engine, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._lock, self._writings, self._known = threading.Lock(), 0, dict[Hashable, tuple[float, Any]]()

    def close(self) -> None:
        """Let go of all connections."""
        self._database.dispose()

    # ---- users

    def users(self) -> list[User]:
        """Give all, by name."""
        with self._reading() as connection:
            return [_user(row) for row in connection.execute(select(*_OF_USER).order_by(USERS.c.name))]

    def user(self, user_id: int) -> User:
        """Give one.

        Raises:
            RefusedError: there is none.
        """
        with self._reading() as connection:
            row = connection.execute(select(*_OF_USER).where(USERS.c.id == user_id)).first()
        if row is None:
            raise RefusedError("there is no such user")
        return _user(row)

    def of_session(self, session: str) -> User | None:
        """Give the user whom a cookie names; None: nobody, or no longer."""
        row = self._lately(("session", session), lambda: self._first(_USER_OF_SESSION, word=session))
        return None if row is None else _user(row)

    def add_user(self, name: str, role: str, password: str | None = None) -> tuple[User, str]:
        """Add a user; gives the password too, which is made where none is given.

        Raises:
            RefusedError: a name that is taken or cannot be, a role that is none, a password that is guessed soon.
        """
        if _NAME.fullmatch(name) is None:
            raise RefusedError(
                "a name has up to 64 of the characters a-z, 0-9, '.', '_' and '-'", [("name", "is none")]
            )
        if role not in ROLES:
            raise RefusedError(f"a role is one of {', '.join(ROLES)}", [("role", "is none")])
        if password is not None:
            check_rules(password, name)
        given = password or new_password()
        values = {
            "name": name,
            "password_hash": hashed(given),
            "role": role,
            "is_active": True,
            "session": secrets.token_urlsafe(32),
            "created_at": self._clock(),
        }
        try:
            with self._writing() as connection:
                made = _number_of(connection.execute(insert(USERS).values(**values)))
        except IntegrityError as error:
            raise RefusedError(f"there is a user {name} already", [("name", "is taken")]) from error
        return self.user(made), given

    def check_password(self, name: str, password: str) -> User | None:
        """Give the user whose name and password these are; None: nobody's, as slowly."""
        query = select(*_OF_USER, USERS.c.password_hash).where(USERS.c.name == name[:64], USERS.c.is_active)
        with self._reading() as connection:
            row = connection.execute(query).first()
        is_known = is_right(password, None if row is None else row.password_hash)
        return _user(row) if is_known and row is not None else None

    def set_password(self, user: User, password: str | None = None) -> str:
        """Give a user another password, made where none is given, and end all sessions."""
        if password is not None:
            check_rules(password, user.name)
        given = password or new_password()
        self._change(user.id, password_hash=hashed(given), session=secrets.token_urlsafe(32))
        return given

    def end_sessions(self, user: User) -> None:
        """Have no cookie of a user count any more."""
        self._change(user.id, session=secrets.token_urlsafe(32))

    def set_role(self, user: User, role: str, is_active: bool) -> None:
        """Give a user another role, or none at all for now; the last administrator stays one.

        Raises:
            RefusedError: nobody could administer the server then.
        """
        if role not in ROLES:
            raise RefusedError(f"a role is one of {', '.join(ROLES)}", [("role", "is none")])
        is_last = user.role == "administrator" and user.is_active and self._administrators() == 1
        if is_last and (role != "administrator" or not is_active):
            raise RefusedError("this is the last administrator: name another one first")
        ended = {} if is_active else {"session": secrets.token_urlsafe(32)}
        self._change(user.id, role=role, is_active=is_active, **ended)

    def _administrators(self) -> int:
        query = select(func.count()).select_from(USERS).where(USERS.c.role == "administrator", USERS.c.is_active)
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _change(self, user_id: int, **values: Any) -> None:
        with self._writing() as connection:
            connection.execute(update(USERS).where(USERS.c.id == user_id).values(**values))

    # ---- tokens

    def make_token(self, user: User, label: str, scope: str, days: int | None = None) -> tuple[Token, str]:
        """Make a token; gives its text, which nobody can tell again.

        Raises:
            RefusedError: a scope that is none, or too many tokens.
        """
        if scope not in SCOPES:
            raise RefusedError(f"a scope is one of {', '.join(SCOPES)}", [("scope", "is none")])
        if sum(token.is_valid(self._clock()) for token in self.tokens_of(user)) >= MOST_TOKENS:
            raise RefusedError(f"a user has at most {MOST_TOKENS} tokens: revoke one first")
        secret, now = secrets.token_urlsafe(32), self._clock()
        values = {
            "user_id": user.id,
            "label": label.strip()[:80] or "token",
            "scope": scope,
            "secret_hash": _digest(secret),
            "created_at": now,
            "expires_at": None if days is None else now + days * 86400.0,
        }
        with self._writing() as connection:
            made = _number_of(connection.execute(insert(TOKENS).values(**values)))
            row = connection.execute(select(*_OF_TOKEN).where(TOKENS.c.id == made)).one()
        return _token(row), f"r2d2_{made}_{secret}"

    def of_token(self, text: str) -> tuple[User, Token] | None:
        """Give whose token it is; None: nobody's, or no longer."""
        found = _TOKEN.fullmatch(text)
        if found is None or int(found[1]) > 2**31 - 1:
            return None
        number = int(found[1])
        row = self._lately(("token", number), lambda: self._first(_TOKEN_AND_USER, number=number))
        if row is None or not hmac.compare_digest(row.secret_hash, _digest(found[2])):
            return None
        user = User(**{column.name: row._mapping[f"u_{column.name}"] for column in _OF_USER})
        token = _token(row)
        return (user, token) if token.is_valid(self._clock()) else None

    def tokens_of(self, user: User) -> list[Token]:
        """Give all tokens of a user, the newest first."""
        query = select(*_OF_TOKEN).where(TOKENS.c.user_id == user.id).order_by(TOKENS.c.id.desc())
        with self._reading() as connection:
            return [_token(row) for row in connection.execute(query)]

    def revoke_token(self, user: User, token_id: int) -> None:
        """Have a token of a user count no more.

        Raises:
            RefusedError: the user has none of that number.
        """
        mine = (TOKENS.c.id == token_id, TOKENS.c.user_id == user.id, TOKENS.c.revoked_at.is_(None))
        with self._writing() as connection:
            count = connection.execute(update(TOKENS).where(*mine).values(revoked_at=self._clock())).rowcount
        if not count:
            raise RefusedError("there is no such token of yours")

    # ---- folders that not all may see

    def closed_roots(self) -> dict[str, frozenset[int]]:
        """Give the folders that some users alone may see, with the numbers of these."""
        return dict(self._lately("closed roots", self._closed_roots))

    def _closed_roots(self) -> dict[str, frozenset[int]]:
        with self._reading() as connection:
            closed = {path: set[int]() for path in connection.execute(_CLOSED).scalars()}
            for path, user_id in connection.execute(select(ROOT_USERS)) if closed else ():
                closed[path].add(user_id)
        return {path: frozenset(users) for path, users in closed.items()}

    def set_root(self, path: str, users: Collection[int] | None) -> None:
        """Say who may see a folder.

        Args:
            path: of the folder.
            users: their numbers, administrators aside; None: all may.
        """
        with self._writing() as connection:
            connection.execute(delete(ROOT_USERS).where(ROOT_USERS.c.path == path))
            connection.execute(delete(CLOSED_ROOTS).where(CLOSED_ROOTS.c.path == path))
            if users is None:
                return
            connection.execute(insert(CLOSED_ROOTS).values(path=path))
            rows = [{"path": path, "user_id": user_id} for user_id in sorted(set(users))]
            if rows:
                connection.execute(insert(ROOT_USERS), rows)

    # ---- what was done

    def note(self, who: str, via: str, address: str, action: str, target: str, status: int) -> None:
        """Add a line to the audit log; nothing changes or removes one."""
        values = {
            "time": self._clock(),
            "who": who[:64],
            "via": via[:40],
            "address": address[:64],
            "action": action[:80],
            "target": target[:120],
            "status": status,
        }
        with self._writing() as connection:
            connection.execute(insert(AUDIT).values(**values))

    def audit(self, limit: int = 100, offset: int = 0, query: AuditQuery | None = None) -> list[Entry]:
        """Give a page of the audit log, the newest first."""
        names = [AUDIT.c[name] for name in ("time", "who", "via", "address", "action", "target", "status")]
        found = select(*names).where(*_noted(query)).order_by(AUDIT.c.id.desc()).limit(limit).offset(offset)
        with self._reading() as connection:
            return [Entry(**row._asdict()) for row in connection.execute(found)]

    def audit_size(self, query: AuditQuery | None = None) -> int:
        """Count the lines of the audit log."""
        with self._reading() as connection:
            return int(connection.execute(select(func.count()).select_from(AUDIT).where(*_noted(query))).scalar_one())

    def _lately(self, question: Hashable, read: Callable[[], Any]) -> Any:
        """Give what was read lately: a page asks for the same again and again.

        What another process writes, as `new_password` does, counts after `LATELY_S` at the latest.
        """
        with self._lock:
            until, known = self._known.get(question, (0.0, None))
            writings = self._writings
        if time.monotonic() < until:
            return known
        until, found = time.monotonic() + LATELY_S, read()
        with self._lock:
            if writings == self._writings:  # else it may be of before that
                self._known.pop(question, None)
                while len(self._known) >= _MOST_REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[question] = until, found
        return found

    def _first(self, query: Select[Any], **values: Any) -> Row[Any] | None:
        with self._reading() as connection:
            return connection.execute(query, values).first()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Work in one transaction, after which nothing is remembered.

        Raises:
            DatabaseError: the database does not answer.
        """
        try:
            with self._reading() as connection:
                yield connection
        finally:
            with self._lock:
                self._writings += 1
                self._known.clear()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._database.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise DatabaseError(f"the database of users cannot be used ({reason})") from error


def _noted(query: AuditQuery | None) -> list[Any]:
    if query is None:
        return []
    conditions: list[Any] = []
    for word in query.text.lower().split():
        columns = [AUDIT.c[name] for name in ("who", "via", "address", "action", "target")]
        called = [action for action, words in query.called.items() if word in words]
        holds = [func.lower(column).contains(word, autoescape=True) for column in columns]
        conditions.append(or_(*holds, AUDIT.c.action.in_(called)))
    if query.who:
        conditions.append(AUDIT.c.who == query.who)
    if query.outcome:
        conditions.append(AUDIT.c.status < 400 if query.outcome == "done" else AUDIT.c.status >= 400)
    return conditions


def _number_of(inserted: CursorResult[Any]) -> int:
    key = inserted.inserted_primary_key
    if key is None:
        raise DatabaseError("the database of users gives a new row no number")
    return int(key[0])


def _digest(secret: str) -> str:
    """Give what is kept of a token: drawn at random, it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _user(row: Any) -> User:
    return User(**{column.name: row._mapping[column.name] for column in _OF_USER})


def _token(row: Any) -> Token:
    return Token(**{column.name: row._mapping[column.name] for column in _OF_TOKEN})
