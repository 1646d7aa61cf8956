"""Failures as exit codes, and the log lines that the operator's rules match."""

import enum
import sys
import time

PREFIX = "pose-engine:"
MOST_OFTEN = 1.0  # seconds between two progress lines


class Failure(enum.Enum):
    """An error code (the name) and the exit code of the process that goes with it."""

    USAGE = 2
    INPUT_UNREADABLE = 3
    NO_FRAMES = 4
    OUTPUT_NOT_WRITABLE = 5
    MODEL_UNREADABLE = 6
    IMAGE_UNSUITABLE = 11
    RESULT_INVALID = 12
    OPENPOSE_FAILED = 14
    INTERNAL = 70


class EngineError(Exception):
    """A failure with a message that a person can act on. signal: the one that ended OpenPose, 0 if none did."""

    def __init__(self, failure, message, signal=0):
        super().__init__(message)
        self.failure, self.message, self.signal = failure, message, signal


def one_line(text, limit=400):
    """Makes text from a file or a program safe to print inside a quoted field of one log line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    squeezed = " ".join(printable.split()).replace("\\", "/").replace('"', "'")
    return squeezed if len(squeezed) <= limit else squeezed[:limit - 3] + "..."


def say(text):
    print(PREFIX, text, flush=True)


def stage(name):
    say("stage=" + name)


def warning(code, text):
    say("warning code={} {}".format(code, text))


def error(failure):
    sys.stdout.flush()
    print('{} error code={} message="{}"'.format(PREFIX, failure.failure.name, one_line(failure.message)),
          file=sys.stderr, flush=True)


class Throttle:
    """Lets a line through at most once a second; clock gives seconds."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._last = None

    def due(self):
        now = self._clock()
        if self._last is not None and now - self._last < MOST_OFTEN:
            return False
        self._last = now
        return True
