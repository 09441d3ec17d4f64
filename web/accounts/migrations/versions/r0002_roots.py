"""Folders of --data-root that some users alone may see."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table("web_closed_roots", sa.Column("path", sa.String(1000), primary_key=True))
    op.create_table(
        "web_root_users",
        sa.Column("path", sa.String(1000), sa.ForeignKey("web_closed_roots.path"), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("web_users.id"), primary_key=True),
    )
