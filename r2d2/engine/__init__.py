"""The engine of jobs: tasks queued, started under supervisors that outlive it, followed, stopped and tried again.

`open_engine` is the engine of a folder, `EngineClient` asks one that runs; both have the calls of `Jobs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
