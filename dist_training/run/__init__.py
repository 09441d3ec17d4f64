"""The course of a run: what is planned and agreed on, epochs and steps, checkpoints, its end."""
