"""Freed memory is kept: the system's own count of pages that had to be filled tells."""

import subprocess
import sys

COUNT = """
import resource
from r2d2_base.allocation import keep_freed_memory

def pages_filled() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        block = bytearray(64 * 2**20)
        block[::4096] = bytes([1]) * len(block[::4096])
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(pages_filled(), keep_freed_memory(), pages_filled())
"""


def test_large_blocks_are_filled_once_and_not_each_time() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=60)
    before, is_told, after = done.stdout.split()
    if is_told == "True":
        assert int(after) < int(before) / 4
