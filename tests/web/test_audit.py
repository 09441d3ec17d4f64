"""The audit log: found by words, users and outcomes, a page at a time."""

from pathlib import Path

from web.accounts.models import AuditQuery
from web.accounts.store import open_accounts


def test_the_audit_log_is_searched(tmp_path: Path) -> None:
    accounts = open_accounts(tmp_path)
    for number in range(5):
        accounts.note("olga", "session", "127.0.0.1", "runs.cancel", str(number), 302)
    accounts.note("vera", "token 3", "10.0.0.5", "api.stop_job", "100%", 403)
    found = [
        (AuditQuery(), 6),
        (AuditQuery("cancel"), 5),
        (AuditQuery("OLGA 127"), 5),
        (AuditQuery("%"), 1),
        (AuditQuery("early"), 0),
        (AuditQuery("early", called={"api.stop_job": "stop a job early"}), 1),
        (AuditQuery(who="ver"), 0),
        (AuditQuery(who="vera"), 1),
        (AuditQuery(outcome="refused"), 1),
        (AuditQuery("cancel", outcome="refused"), 0),
    ]
    for query, count in found:
        assert accounts.audit_size(query) == len(accounts.audit(100, 0, query)) == count, query
    assert [entry.target for entry in accounts.audit(2, 1, AuditQuery(who="olga"))] == ["3", "2"]
    accounts.close()
