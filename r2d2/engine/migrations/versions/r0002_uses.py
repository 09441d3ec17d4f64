"""The declared folders that jobs use; what ended last is found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and have all jobs read anew, whose folders know."""
    op.create_table(
        "uses",
        sa.Column("job_id", sa.BigInteger(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("root", sa.String(1000), primary_key=True),
    )
    op.create_index("jobs_by_end", "jobs", ["ended_at", "id"])
    op.execute("UPDATE jobs SET stamp = ''")


def downgrade() -> None:
    """Remove it: the folders have all that is in it."""
    op.drop_index("jobs_by_end", "jobs")
    op.drop_table("uses")
