"""Which file system a folder is on, and whether it tells of what other machines write there.

On a network file system the kernel tells only of this machine's own writes, on an overlay not of those in a layer
below; folders of such kinds are polled. Only Linux is asked: elsewhere the system's events are used.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

SILENT = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs", "vboxsf", "prl_fs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "overlay", "aufs", "fuse"),
    }
)
"""Kinds of file systems whose events do not tell of every write; `fuse` stands for all of its own (`fuse.sshfs`)."""

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system_of(folder: str, mountinfo: str) -> str | None:
    """The kind of file system that `folder`, an absolute real path, is on; None when `mountinfo` does not say.

    `mountinfo` is the text of /proc/self/mountinfo. The longest mount point above the folder holds it; of several at
    one place the last, which hides the others.
    """
    parts = PurePosixPath(folder).parts
    longest, holding = 0, None
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or not kinds[0]:
            continue
        mounted = PurePosixPath(_ESCAPED.sub(lambda escape: chr(int(escape[1], 8)), fields[4])).parts
        if parts[: len(mounted)] == mounted and len(mounted) >= longest:
            longest, holding = len(mounted), kinds[0]
    return holding


def tells(kind: str | None) -> bool:
    """Whether events tell of every write on a file system of this kind; one that nobody knows is believed."""
    return kind is None or kind.partition(".")[0] not in SILENT


def silent_kind(folder: Path) -> str | None:
    """The kind of the file system of `folder` if its events cannot be relied on, else None."""
    try:
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no Linux, or no /proc
        return None
    kind = file_system_of(os.path.realpath(folder), mountinfo)
    return None if tells(kind) else kind
