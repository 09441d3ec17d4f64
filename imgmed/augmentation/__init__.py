"""Random variants of slices: `settings` says which, `draw` decides, `apply` makes them, `enlarge` writes them.

Of patches of volumes, `volume_draw` decides and `volume_apply` makes them, by `volume_resampling` and `volume_filters`.
"""
