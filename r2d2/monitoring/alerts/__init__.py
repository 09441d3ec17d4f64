"""Alerts: what goes wrong in a run while it runs, since when, and what to do."""
