"""What the audit log's actions are called on its page."""

from __future__ import annotations

__all__ = ["WORDS", "said"]

WORDS = {
    "session.check_login": "log in",
    "session.logout": "log out",
    "settings.change_password": "change own password",
    "settings.make_token": "make a token",
    "settings.revoke_token": "revoke a token",
    "settings.add_user": "add a user",
    "settings.change_user": "change a user",
    "settings.new_password": "give a new password",
    "settings.change_root": "say who sees a folder",
    "api.submit_job": "submit a job",
    "api.change_job": "change a job",
    "api.stop_job": "stop a job early",
    "api.cancel_job": "cancel a job",
    "api.resume_job": "resume a job",
    "runs.stop": "stop a job early",
    "runs.cancel": "cancel a job",
    "runs.resume": "resume a job",
}


def said(action: str) -> str:
    """Give the words for a route; for one that has none, its name.

    >>> said("runs.cancel"), said("zoo.pull_model")
    ('cancel a job', 'pull model (zoo)')
    """
    area, _, name = action.rpartition(".")
    return WORDS.get(action) or f"{name.replace('_', ' ')} ({area.replace('_', ' ')})"
