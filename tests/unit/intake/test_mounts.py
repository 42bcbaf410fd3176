"""The kind of a folder's file system, from the text of /proc/self/mountinfo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from watcher.intake.mounts import file_system_of, silent_kind, tells

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /data rw,relatime shared:5 master:2 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /data/local rw - xfs /dev/vdb rw
32 22 0:42 / /with\\040blank rw - cifs //server/share rw
33 22 0:43 / /stacked rw - ext4 /dev/vdc rw
34 22 0:44 / /stacked rw - fuse.sshfs host:/x rw
a line that is none
35 22 0:45 / /short rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/srv/x", "ext4"),
        ("/data", "nfs4"),
        ("/data/incoming", "nfs4"),
        ("/database", "ext4"),
        ("/data/local/incoming", "xfs"),
        ("/with blank/incoming", "cifs"),
        ("/stacked/x", "fuse.sshfs"),
        ("/short/x", "ext4"),
    ],
)
def test_the_longest_mount_point_holds_a_folder(folder: str, kind: str) -> None:
    """By whole names; of two at one place the later one; blanks are escaped; lines that are none are passed over."""
    assert file_system_of(folder, MOUNTS) == kind


def test_nothing_is_said_without_mounts() -> None:
    """An empty table, as outside of Linux, names no kind."""
    assert file_system_of("/data", "") is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "overlay", "fuse.sshfs", "fuse", "9p"])
def test_network_file_systems_and_overlays_do_not_tell(kind: str) -> None:
    """Others' writes give no event there."""
    assert not tells(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "zfs", "fuseblk", "f2fs", None])
def test_local_file_systems_tell(kind: str | None) -> None:
    """Also a kind that nobody knows is believed."""
    assert tells(kind)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_machines_proc_tells() -> None:
    """/proc itself is a local file system, whatever the rest of this machine is on."""
    assert silent_kind(Path("/proc/self")) is None
