"""The zoo: trained networks under names with versions, in the local zoo, shipped with R2D2, or in remote registries."""

__all__: list[str] = []
