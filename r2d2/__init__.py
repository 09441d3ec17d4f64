"""R2D2, rapid and robust digital diagnostic: scans with expert labels in, an evaluated network out."""

__all__ = ["__version__"]

__version__ = "0.1.0"
