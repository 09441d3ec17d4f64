"""R2D2, rapid and robust digital diagnostic: scans with expert labels in, an evaluated network out.

What it does for a user is one typed call each: settings in, a result out, with progress and a request to stop as
arguments, from any thread (docs/reference/python.md). They are imported on first use.
"""

__version__ = "0.1.0"

try:
    import lazy_loader
except ModuleNotFoundError:  # r2d2.doctor says what is missing, where nothing is installed too
    __all__ = ["__version__"]
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
    __all__ = [*__all__, "__version__"]
