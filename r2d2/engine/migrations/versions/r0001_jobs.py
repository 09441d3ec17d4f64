"""Jobs and their tags."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("submitted_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("stamp", sa.Text(), nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "priority", "id"])
    op.create_index("jobs_by_task", "jobs", ["task"])
    op.create_table(
        "tags",
        sa.Column("job_id", sa.BigInteger(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("tag", sa.String(40), primary_key=True),
    )
    op.create_index("tags_by_tag", "tags", ["tag", "job_id"])


def downgrade() -> None:
    """Remove them: the folders have all that is in them."""
    op.drop_table("tags")
    op.drop_table("jobs")
