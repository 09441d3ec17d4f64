"""Random variants of slices: `settings` says which, `draw` decides, `apply` makes them, `enlarge` writes them."""
