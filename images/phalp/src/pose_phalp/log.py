"""The engine's log: short stable lines that the operator's stage rules match. README.md lists them.

The lines go to copies of the two descriptors that are taken when this module is first imported, before any library:
upstream replaces sys.stdout while it loads SMPL and leaves it closed to the world if that fails.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

from pose_phalp.errors import EngineError, one_line

PREFIX = "pose-engine:"
MOST_OFTEN = 1.0  # seconds between two progress lines


def _copy(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)  # started with the descriptor closed: nobody listens


_OUT = _copy(1)
_ERR = _copy(2)


def _write(descriptor: int, text: str) -> None:
    """One call for one line, so that lines of libraries cannot fall in between."""
    data = f"{PREFIX} {text}\n".encode("utf-8", "replace")
    while data:
        try:
            data = data[os.write(descriptor, data):]
        except BrokenPipeError:
            return  # the reader is gone; the result matters more than the log


def say(text: str) -> None:
    _write(_OUT, text)


def stage(name: str) -> None:
    say(f"stage={name}")


def warning(code: str, text: str) -> None:
    say(f"warning code={code} {one_line(text)}")


def error(failure: EngineError, clip: Optional[str] = None) -> None:
    """The last word of a failed run, or of a clip of a queue."""
    whose = "" if clip is None else f"clip={clip} "
    _write(_ERR, f'{whose}error code={failure.failure.name} message="{one_line(failure.message)}"')


class Throttle:
    """Lets a line through at most once a second; clock gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Optional[float] = None

    def due(self) -> bool:
        now = self._clock()
        if self._last is not None and now - self._last < MOST_OFTEN:
            return False
        self._last = now
        return True
