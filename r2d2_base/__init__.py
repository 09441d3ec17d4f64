"""What all packages share: files, processes, progress, the machine, faults of settings, errors."""

__all__ = [
    "errors",
    "files",
    "folders",
    "machine",
    "process_identity",
    "processes",
    "progress",
    "settings_faults",
]
