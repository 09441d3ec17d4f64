"""The steps from one layout of the index to the next, for Alembic."""
