"""Other libraries' output on masks made from seeds: `make compare-peers` makes it, the suite compares with it."""
