"""What can go wrong, as exit codes and error codes that the operator's failure rules match."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Failure(Enum):
    """An error code (the name) and the exit code of the process that goes with it."""

    USAGE = 2
    INPUT_UNREADABLE = 3
    NO_FRAMES = 4
    OUTPUT_NOT_WRITABLE = 5
    MODEL_UNREADABLE = 6
    BOXES_INVALID = 7
    INTERNAL = 70


@dataclass
class EngineError(Exception):
    """A failure with a message that a person can act on."""

    failure: Failure
    message: str

    def __str__(self) -> str:
        return self.message


def classify(error: BaseException) -> EngineError:
    """Gives any exception a failure that a person can act on; what nobody foresaw is INTERNAL."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, MemoryError):
        return EngineError(Failure.INTERNAL, "out of memory")
    return EngineError(Failure.INTERNAL, f"{type(error).__name__}: {error}")


def one_line(text: str, limit: int = 400) -> str:
    """Makes text from a file or a tool safe to print inside a quoted field of one log line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    squeezed = " ".join(printable.split()).replace("\\", "/").replace('"', "'")
    return squeezed if len(squeezed) <= limit else squeezed[: limit - 3] + "..."
