"""The web server: plain pages and a REST API over the engine of jobs. Started by `r2d2 serve`, as a process of its own.

In a checkout this package is called `web`, installed `r2d2_web`, since PyPI's web.py installs a `web` too. So its
modules import each other relatively only.
"""

__all__: list[str] = []
