"""Dist-Training: networks trained by synchronous data-parallel descent, the same on any number of workers.

What a Keras training loop of one's own needs is exported here (docs/reference/distributed_keras.md); it is imported on
first use.
"""

import os
import platform

import lazy_loader

if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow reads it when it is loaded, and leaves oneDNN's convolutions off on processors without AVX-512
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
