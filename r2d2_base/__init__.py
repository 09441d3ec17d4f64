"""What all packages share: files, processes, progress, the machine, errors."""
