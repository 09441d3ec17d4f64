"""The tests, as packages: what several of them need is imported from here, whichever are run."""
