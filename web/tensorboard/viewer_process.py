"""TensorBoard's own server, in a process of its own; it ends when its standard input does.

Its folder and a secret first part of all its paths come as a line of JSON at its standard input, so that no command
line shows them. It says the port that it has in a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys

__all__ = ["main"]

MOST_PICTURES = 200


def main() -> int:
    """Be the server; gives the exit code."""
    from tensorboard import program
    from tensorboard.util import tb_logging

    told = json.loads(sys.stdin.buffer.readline())
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in a terminal is told to the console's server, which ends this
    tb_logging.get_logger().setLevel("ERROR")
    server = program.TensorBoard()
    where = ["--logdir", told["folder"], "--host", "127.0.0.1", "--port", "0", "--path_prefix", told["prefix"]]
    shown = ["--load_fast", "false", "--samples_per_plugin", f"images={MOST_PICTURES}"]
    server.configure(["tensorboard", *where, *shown])
    address = server.launch()
    sys.stdout.write(json.dumps({"port": int(address.split(":")[2].partition("/")[0])}) + "\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        continue
    os._exit(0)  # its threads would be waited for


if __name__ == "__main__":
    sys.exit(main())
