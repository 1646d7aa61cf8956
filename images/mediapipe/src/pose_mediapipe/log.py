"""The engine's log: short stable lines that the operator's stage rules match. README.md lists them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from pose_mediapipe.errors import EngineError, one_line

PREFIX = "pose-engine:"
MOST_OFTEN = 1.0  # seconds between two progress lines


def say(text: str) -> None:
    print(f"{PREFIX} {text}", flush=True)


def stage(name: str) -> None:
    say(f"stage={name}")


def warning(code: str, text: str) -> None:
    say(f"warning code={code} {text}")


def error(failure: EngineError, clip: str | None = None) -> None:
    """The last word of a failed run, or of a clip of a queue."""
    whose = "" if clip is None else f"clip={clip} "
    print(f'{PREFIX} {whose}error code={failure.failure.name} message="{one_line(failure.message)}"', file=sys.stderr, flush=True)


class Throttle:
    """Lets a line through at most once a second; clock gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None

    def due(self) -> bool:
        now = self._clock()
        if self._last is not None and now - self._last < MOST_OFTEN:
            return False
        self._last = now
        return True
