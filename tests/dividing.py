"""How tests are divided among test processes."""

from typing import Any

from xdist.scheduler import LoadScopeScheduling

__all__ = ["ByFile"]


class ByFile(LoadScopeScheduling):
    """Whole files, in the order of the collection.

    A test whose process dies with it has failed, and is not run again. The others that the process was given are.
    (xdist 3.8 gives the test again, and files that are done, for which the process that gets them waits for ever.)

    Args:
        together: beginnings of paths whose files all go to one process.
        given: as xdist has them.
    """

    def __init__(self, *given: Any, together: tuple[str, ...] = ()) -> None:
        super().__init__(*given)
        self._together = together

    def _split_scope(self, nodeid: str) -> str:
        together = next((name for name in self._together if nodeid.startswith(name)), None)
        return together or nodeid.partition("::")[0]

    def remove_node(self, node: Any) -> str | None:
        """Take a process out; gives the test at which it died."""
        given = self.assigned_work.pop(node)
        left = {file: [test for test, is_done in tests.items() if not is_done] for file, tests in given.items()}
        file, died_at = next(((file, tests.pop(0)) for file, tests in left.items() if tests), (None, None))
        self.workqueue.update({file: dict.fromkeys(tests, False) for file, tests in left.items() if tests})
        for other in self.assigned_work if file is not None else ():
            self._reschedule(other)
        return died_at
