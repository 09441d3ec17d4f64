"""Plain pages, without scripts: jobs, one's own account, users, the audit log."""

__all__: list[str] = []
