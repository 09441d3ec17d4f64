"""Alerts sent to where the administrator says: by webhook and by e-mail, from threads that no job waits for."""
