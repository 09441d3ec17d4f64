"""From a run folder to the folder of a published model, which names no patient."""
