"""``horovodrun --gloo`` without its question whether Horovod was built with Gloo: ``python -m r2d2.launching.gloo``.

horovodrun loads TensorFlow in a process of its own to find out, before it starts a worker. `make install` builds
Horovod with Gloo, and `r2d2 doctor` tells what it was built with.
"""

import sys

from horovod.runner import launch

__all__: list[str] = []

if __name__ == "__main__":
    launch.gloo_built = lambda verbose=False: True
    sys.argv[:1] = ["horovodrun", "--gloo"]
    launch.run_commandline()
