"""Label maps and evaluations on disk."""
