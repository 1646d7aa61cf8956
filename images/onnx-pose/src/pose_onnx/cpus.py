"""How many cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

MOST_WORKERS = 8  # more than people in a usual frame would wait for each other


def available(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores by affinity and by the container's CPU limit (cgroup v2 and v1); at least 1.

    A container with a limit of 2 still sees every core of its node; a thread for each of them would only be throttled.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, min(cores, MOST_WORKERS, cores if quota is None else round(quota)))


def _quota(root: Path) -> float | None:
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
