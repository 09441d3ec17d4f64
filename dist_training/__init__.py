"""Dist-Training: networks trained by synchronous data-parallel descent, the same on any number of workers.

What a Keras training loop of one's own needs is exported here (docs/distributed_keras.md); it is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
