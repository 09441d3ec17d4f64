"""Users, tokens and the audit log in PostgreSQL, beside the engine's index."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from r2d2.engine.database import open_database, take_steps
from r2d2.engine.errors import RefusedError
from r2d2.engine.tables import METADATA as INDEX_TABLES
from tests.postgresql import needs_postgresql, postgresql
from web.accounts.store import open_accounts
from web.accounts.tables import LAYOUT, METADATA

PASSWORD = "a right long sentence"


@pytest.mark.slow
@needs_postgresql
def test_the_server_keeps_its_own_in_the_same_database_as_the_index(tmp_path: Path) -> None:
    with postgresql(tmp_path) as url:
        index = open_database(tmp_path, url)
        accounts = open_accounts(tmp_path / "web", url)
        olga, _ = accounts.add_user("olga", "operator", PASSWORD)
        with pytest.raises(RefusedError, match="olga already"):
            accounts.add_user("olga", "viewer", PASSWORD)
        assert accounts.check_password("olga", PASSWORD) == olga
        assert accounts.check_password("olga", "another") is None
        assert accounts.of_session(olga.session) == olga
        token, text = accounts.make_token(olga, "mine", "read", days=1)
        assert accounts.of_token(text) == (olga, token)
        accounts.revoke_token(olga, token.id)
        assert accounts.of_token(text) is None
        accounts.set_role(olga, "viewer", is_active=False)
        assert accounts.check_password("olga", PASSWORD) is None
        for target in ("1", "2"):
            accounts.note("olga", "session", "127.0.0.1", "jobs.stop", target, 302)
        assert [entry.target for entry in accounts.audit(1, 1)] == ["1"]
        accounts.close()

        again = open_accounts(tmp_path / "web", url)  # nothing is to be done
        assert [user.name for user in again.users()] == ["olga"]
        again.close()
        there = inspect(index).get_table_names()
        assert set(there) == {*METADATA.tables, *INDEX_TABLES.tables, "alembic_version", LAYOUT.version_table}
        index.dispose()
        assert not (tmp_path / "web" / LAYOUT.file_name).exists()


@pytest.mark.slow
@needs_postgresql
def test_the_steps_lead_to_the_same_tables(tmp_path: Path) -> None:
    with postgresql(tmp_path) as url:
        database = create_engine(url)
        take_steps(database, LAYOUT)
        with database.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": LAYOUT.version_table})
            assert compare_metadata(context, METADATA) == []
        database.dispose()
        open_accounts(tmp_path / "web", url).close()
