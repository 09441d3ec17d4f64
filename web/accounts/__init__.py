"""Who may use the server: users with roles, tokens of programs, and the log of what they did."""

__all__: list[str] = []
