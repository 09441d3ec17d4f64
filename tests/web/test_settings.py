"""Where the server listens, who may connect, what it is called, what it keeps."""

import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from r2d2.engine.database import open_database
from r2d2.engine.errors import DatabaseError, RefusedError
from tests.web.conftest import Site
from web.accounts.tables import LAYOUT, METADATA
from web.permissions import Permission
from web.serve_settings import ServeSettings, checked

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"host": "::1"},
        {"host": "localhost"},
        {"host": "10.0.0.7", "insecure": True},
        {"host": "10.0.0.7", "proxies": ("10.0.0.8",)},
        {"host": "0.0.0.0", "insecure": True, "trusted_hosts": ("r2d2.example",)},
    ],
)
def test_what_may_be_served(tmp_path: Path, more: dict[str, Any]) -> None:
    settings = ServeSettings(work_root=tmp_path, **more)
    assert checked(settings) is settings
    assert not settings.is_encrypted or settings.proxies


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"host": "0.0.0.0"}, "is reached by others"),
        ({"host": ""}, "is reached by others"),
        ({"host": "10.0.0.7"}, "--certificate and --key, or --proxy .*, or --insecure"),
        ({"host": "r2d2.example"}, "is reached by others"),
        ({"host": "127.0.0.1.evil.example"}, "is reached by others"),
        ({"host": "0.0.0.0", "insecure": True}, "give --trusted-host"),
        ({"certificate": "none.pem"}, "go together"),
        ({"certificate": "none.pem", "key": "none.pem"}, "no TLS certificate with its key: No such file"),
        ({"certificate": __file__, "key": __file__}, "no TLS certificate with its key"),
        ({"proxies": ("proxy.example",)}, "no IP address"),
        ({"data_roots": ("nowhere",)}, "nowhere is no folder"),
        ({"code_roots": ("nowhere",)}, "nowhere is no folder"),
    ],
)
def test_what_may_not(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        checked(ServeSettings(work_root=tmp_path, **more))


def test_jobs_have_no_other_folder_where_none_is_declared(tmp_path: Path) -> None:
    assert ServeSettings(work_root=tmp_path).of_engine().data_roots == (tmp_path,)


def test_behind_a_proxy(tmp_path: Path) -> None:
    """The proxy alone may connect, by TLS; where a request came from is what it says."""
    with ExitStack() as stack:
        site = Site(tmp_path, stack, proxies=("10.0.0.8",), trusted_hosts=("r2d2.example",))
        for address, scheme, status in (
            ("10.0.0.9", "https", 403),
            ("10.0.0.8", "http", 403),
            ("10.0.0.8", "https", 200),
        ):
            answer = site.client().get(
                "/login",
                base_url="http://r2d2.example",
                headers={
                    "X-Forwarded-Proto": scheme,
                    "X-Forwarded-For": "192.0.2.1",
                    "X-Forwarded-Host": "evil.example",
                },
                environ_overrides={"REMOTE_ADDR": address},
            )
            assert answer.status_code == status
        assert "Secure" in answer.headers["Set-Cookie"] and answer.headers["Set-Cookie"].startswith("__Host-")
        assert answer.headers["Strict-Transport-Security"]
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
        proxy = {"base_url": "http://r2d2.example", "environ_overrides": {"REMOTE_ADDR": "10.0.0.8"}}
        assert site.api("POST", "/jobs/1/stop", headers=headers, **proxy).status_code == 404
        assert site.accounts.audit(1)[0].address == "192.0.2.1"


def test_a_route_that_says_nothing_is_open_to_nobody(tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        site.app.add_url_rule("/forgotten", "forgotten", lambda: "open")
        site.app.add_url_rule("/api/forgotten", "api_forgotten", lambda: "open")
        assert site.client("anna").get("/forgotten").status_code == 403
        answer = site.app.test_client().get(
            "/api/forgotten", headers={"Authorization": f"Bearer {site.tokens['anna']}"}
        )
        assert answer.status_code == 403
        assert Permission.ADMINISTER.value == "administrator"


def test_the_tables_are_as_their_steps_make_them(tmp_path: Path) -> None:
    database = open_database(tmp_path, None, LAYOUT)
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": LAYOUT.version_table})
        assert compare_metadata(context, METADATA) == []
    with database.begin() as connection:
        connection.execute(text("UPDATE web_version SET version_num = '9999'"))
    database.dispose()
    with pytest.raises(DatabaseError, match=r"newer version of R2D2 \(9999; .*backup"):
        open_database(tmp_path, None, LAYOUT)


@pytest.mark.slow
def test_installed_it_has_another_name(tmp_path: Path) -> None:
    """`web` of PyPI's web.py may lie beside it."""
    shutil.copytree(REPOSITORY / "web", tmp_path / "r2d2_web")
    (tmp_path / "web.py").write_text("raise ImportError('another web')\n")
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import r2d2_web.server, r2d2_web.engine_process; print('done')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, encoding="utf-8", timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
