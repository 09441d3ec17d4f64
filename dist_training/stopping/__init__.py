"""What a run heeds: requests and signals, early stopping, divergence, the time budget."""
