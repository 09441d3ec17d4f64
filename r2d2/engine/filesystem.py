"""Which file system a folder is on: an SQLite database with a write-ahead log needs one of its own host."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["network_file_system"]

_MOUNTS = Path("/proc/self/mountinfo")
_OF_A_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2|gfs2|orangefs|pvfs2"
    r"|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|juicefs|beegfs|moosefs|davfs)"
)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Name the network file system that a file or folder is on; None: it is on one of this host.

    Args:
        path: it, or what is above it, exists.
        mounts: what the kernel says of its mounts, as in proc(5).
    """
    place = Path(os.path.realpath(path))
    found = (Path(), "")
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        at = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if (place == at or at in place.parents) and len(at.parts) >= len(found[0].parts):
            found = (at, kinds[0])  # of two at the same place, the later one is on top
    return found[1] if _OF_A_NETWORK.fullmatch(found[1]) else None
