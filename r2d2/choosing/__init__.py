"""Which of several configurations to use: what their scores say, and the choice as a file; no networks, no training."""
