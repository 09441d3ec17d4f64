"""What all packages share: files, processes, progress, the machine, errors."""

__all__ = ["errors", "files", "machine", "progress"]
