"""The tables of the index, as SQLAlchemy has them. Every change needs a step in migrations/versions/."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

__all__ = ["HEAD", "JOBS", "METADATA", "TAGS", "USES"]

HEAD = "0002"
"""The step that these tables are of."""

METADATA = MetaData()

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("task", String(200), nullable=False),
    Column("name", String(120), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text),
    Column("priority", Integer, nullable=False),
    Column("after", Text, nullable=False),  # numbers, as JSON
    Column("workers", Integer, nullable=False),
    Column("by", String(120), nullable=False),
    Column("submitted_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("ended_at", Float(53)),
    Column("attempt", Integer, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("output", Text),
    Column("stamp", Text, nullable=False),  # of the folder, when this row was made from it
    Index("jobs_by_state", "state", "priority", "id"),
    Index("jobs_by_task", "task"),
    Index("jobs_by_end", "ended_at", "id"),
)

TAGS = Table(
    "tags",
    METADATA,
    Column("job_id", BigInteger, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(40), primary_key=True),
    Index("tags_by_tag", "tag", "job_id"),
)

USES = Table(
    "uses",
    METADATA,
    Column("job_id", BigInteger, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("root", String(1000), primary_key=True),  # a folder that the engine was started with
)
