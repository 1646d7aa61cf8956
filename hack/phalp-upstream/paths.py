"""Where everything is: the caches below one HOME, and the adapter's sources."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADAPTER = HERE.parents[1] / "images/phalp/src"


def environment(home: Path) -> dict[str, str]:
    """What a run sees: HOME with the random weights, no network, one or few threads as the machine has."""
    return dict(os.environ, HOME=str(home), TORCH_HOME=str(home / ".cache/torch"), FVCORE_CACHE=str(home / ".torch/iopath_cache"),
                PYTHONUNBUFFERED="1", HYDRA_FULL_ERROR="1", PYTHONDONTWRITEBYTECODE="1", MPLCONFIGDIR=tempfile.gettempdir())


def use(home: Path) -> None:
    """Makes this process see the same, and the adapter's modules."""
    os.environ.update(environment(home))
    sys.path.insert(0, str(ADAPTER))
