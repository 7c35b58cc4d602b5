"""How much memory this process may still take."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return bytes: what the machine has free, or less where a limit is nearer.

    Limits are those of the process (ulimit) and of the group that it belongs to (a container, a job of SLURM).
    """
    return max(0, min([int(psutil.virtual_memory().available), *_to_the_limits(), *_to_those_of_the_group()]))


def _to_the_limits() -> list[int]:
    if sys.platform == "win32":
        return []
    import resource

    memory = psutil.Process().memory_info()
    used = {resource.RLIMIT_AS: memory.vms, resource.RLIMIT_DATA: getattr(memory, "data", memory.rss)}
    limits = {kind: resource.getrlimit(kind)[0] for kind in used}
    return [limit - used[kind] for kind, limit in limits.items() if limit != resource.RLIM_INFINITY]


def _to_those_of_the_group() -> list[int]:
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1].rpartition(":")[2]
        folder = _GROUPS / own.lstrip("/")
        # Of a container the group is the root of what it sees.
        folders = [one for one in (folder, *folder.parents) if one.is_relative_to(_GROUPS) and (one / "memory.max").is_file()]
        limits = [(one, (one / "memory.max").read_text(encoding="ascii").strip()) for one in folders]
        return [int(limit) - _used_by(one) for one, limit in limits if limit != "max"]
    except (OSError, ValueError, IndexError):
        return []  # another system, or another version of groups


def _used_by(group: Path) -> int:
    """Return what a group holds and cannot give back; files that were read are given back."""
    told = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    return int((group / "memory.current").read_text(encoding="ascii")) - int(told.get("inactive_file", 0))
