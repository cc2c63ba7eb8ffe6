"""Name the process that holds a lease, so that its work is taken over at once when it is gone.

A process is named by its host, its number, the running system with its process namespace (containers may share a host's
name) and the moment it started (numbers are used again). Where the system does not tell (no /proc), nobody is ever
called gone, and a lease simply runs out.
"""

from __future__ import annotations

import os
import re
import socket
import zlib
from pathlib import Path

PROC = Path("/proc")
HOLDER = re.compile(r"(?P<host>.+):(?P<pid>\d+):(?P<system>[0-9a-f]{8})/(?P<started>\d+)")


def holder() -> str:
    """Return the name of this process, of at most 100 characters."""
    pid = os.getpid()
    return f"{socket.gethostname()[:60]}:{pid}:{_system()}/{_started(pid) or 0}"


def is_gone(name: str) -> bool:
    """Tell whether a holder has certainly ended; False for those of other hosts and for whoever cannot be asked."""
    parts = HOLDER.fullmatch(name)
    return parts is not None and _is_ours(parts) and _started(int(parts["pid"])) != int(parts["started"])


def is_here(name: str) -> bool:
    """Tell whether a holder is certainly alive on this host."""
    parts = HOLDER.fullmatch(name)
    return parts is not None and _is_ours(parts) and _started(int(parts["pid"])) == int(parts["started"])


def _is_ours(parts: re.Match[str]) -> bool:
    return parts["system"] == _system() and parts["started"] != "0"


def _system() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text()
        namespace = str((PROC / "self/ns/pid").readlink())
    except OSError:
        boot, namespace = socket.gethostname(), ""
    return f"{zlib.crc32(f'{boot}{namespace}'.encode()):08x}"


def _started(pid: int) -> int | None:
    """Return when a process started, in ticks since the system did; None when there is none, or nobody tells."""
    try:
        # The second field, the command's name, may hold blanks and brackets: what follows the last bracket is safe.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
