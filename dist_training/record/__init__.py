"""What a run leaves on disk: its folder, events, environment, TensorBoard curves."""
