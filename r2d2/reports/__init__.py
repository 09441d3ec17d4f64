"""HTML reports, of an evaluation and of a dataset: one file that needs nothing else, to be read and passed on."""
