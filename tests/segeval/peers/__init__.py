"""Other libraries' output on masks made from seeds: `python -m peers.record` makes it, the suite compares with it."""
