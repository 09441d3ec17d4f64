"""The tables of the server, as SQLAlchemy has them. Every change needs a step in migrations/versions/."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

from r2d2.engine.database import Layout

__all__ = ["AUDIT", "CLOSED_ROOTS", "LAYOUT", "METADATA", "ROOT_USERS", "TOKENS", "USERS"]

LAYOUT = Layout(
    file_name="web.sqlite",
    head="0002",
    migrations=Path(__file__).parent / "migrations",
    version_table="web_version",
    if_lost="it holds users, tokens and the audit log: a backup of it brings them back",
)

METADATA = MetaData()

USERS = Table(
    "web_users",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("session", String(64), nullable=False, unique=True),  # what a cookie names the user by; changed, it ends all
    Column("created_at", Float(53), nullable=False),
)

TOKENS = Table(
    "web_tokens",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("web_users.id"), nullable=False),
    Column("label", String(80), nullable=False),
    Column("scope", String(20), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53)),
    Column("revoked_at", Float(53)),
    Index("web_tokens_by_user", "user_id"),
)

AUDIT = Table(
    "web_audit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("time", Float(53), nullable=False),
    Column("who", String(64), nullable=False),
    Column("via", String(40), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(80), nullable=False),
    Column("target", String(120), nullable=False),
    Column("status", Integer, nullable=False),
)

CLOSED_ROOTS = Table(
    "web_closed_roots",  # folders of --data-root that not all users may see
    METADATA,
    Column("path", String(1000), primary_key=True),
)

ROOT_USERS = Table(
    "web_root_users",  # who may see them, besides administrators
    METADATA,
    Column("path", String(1000), ForeignKey("web_closed_roots.path"), primary_key=True),
    Column("user_id", Integer, ForeignKey("web_users.id"), primary_key=True),
)
