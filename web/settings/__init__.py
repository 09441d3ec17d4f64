"""Settings: one's own account and tokens; for administrators users and the audit log; what the REST API has."""

__all__: list[str] = []
