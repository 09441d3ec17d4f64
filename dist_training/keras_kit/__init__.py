"""For a Keras training loop of one's own on several ranks: callbacks and metrics."""
