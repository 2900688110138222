"""How many cores this process may use, and how many threads it does use."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["available", "get_num_threads", "set_num_threads"]

_chosen: int | None = None  # by set_num_threads


def available() -> int:
    """How many cores this process may use: those that it is bound to, and no more than its control
    group grants, of which a part of one is none. At least 1."""
    counts: list[int | None] = [os.cpu_count()]
    usable: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    if usable is not None:  # from Python 3.13; it also heeds PYTHON_CPU_COUNT
        counts.append(usable())
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    return max(1, min([n for n in counts if n] + [int(n) for n in quotas()], default=1))


def quotas(groups: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> list[float]:
    """Cores that Linux grants to the control groups of this process, of versions 1 and 2, and to
    those around them; containers and schedulers set them."""
    try:
        lines = Path(groups).read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if not names:
            bases, read = [Path(root), Path(root, "unified")], _second
        elif "cpu" in names.split(","):
            bases, read = [Path(root, "cpu"), Path(root, names)], _first
        else:
            continue
        for base in bases:  # in a container the path may be that outside, and the base its own
            folder = base / path.strip("/")
            for at in (folder, *folder.parents):
                if at == base or base in at.parents:
                    found += read(at)
    return found


def _first(group: Path) -> list[float]:
    """Of a group of version 1; a quota of -1 is none."""
    try:
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text())
                         for name in ("quota", "period"))
    except (OSError, ValueError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []


def _second(group: Path) -> list[float]:
    """Of a group of version 2: ``200000 100000``, or ``max 100000``."""
    try:
        quota, period = map(int, (group / "cpu.max").read_text().split())
    except (OSError, ValueError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []


def get_num_threads() -> int:
    """How many threads a recorded step uses: what ``set_num_threads`` has chosen; else one for each
    core that the process may use, but no more than OPENBLAS_NUM_THREADS or OMP_NUM_THREADS say."""
    return _default() if _chosen is None else _chosen


@cache
def _default() -> int:
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return max(1, min([available(), *(int(limit) for limit in limits if limit.isdigit())]))


def set_num_threads(n: int) -> int:
    """Use ``n`` threads, but no more than the process has cores: returns how many those are.

    For lanes and blocks of ``tg.jit``, which records anew, and, where threadpoolctl is installed,
    for the matrix products of NumPy's BLAS. TypeError unless n is a whole number, ValueError
    unless it is 1 or more.
    """
    global _chosen
    if not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: a {type(n).__name__} came, wanted a whole number")
    wanted = operator.index(n)
    if wanted < 1:
        raise ValueError(f"set_num_threads: {n} threads, wanted 1 or more")
    _chosen = min(wanted, available())
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return _chosen
    threadpool_limits(_chosen, user_api="blas")  # from here on, not for a block
    return _chosen
