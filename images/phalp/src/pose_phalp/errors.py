"""What can go wrong, as exit codes and error codes that the operator's failure rules match. README.md lists them."""

from __future__ import annotations

import errno
from enum import Enum


class Failure(Enum):
    """An error code (the name) and the exit code of the process that goes with it."""

    USAGE = 2
    INPUT_UNREADABLE = 3
    NO_FRAMES = 4
    OUTPUT_NOT_WRITABLE = 5
    MODEL_UNREADABLE = 6
    BOXES_INVALID = 7
    WEIGHTS_MISSING = 8
    GPU_UNAVAILABLE = 9
    GPU_OUT_OF_MEMORY = 10
    IMAGE_UNSUITABLE = 11
    RESULT_INVALID = 12
    HOST_OUT_OF_MEMORY = 13
    INTERNAL = 70


class EngineError(Exception):
    """A failure with a message that says what failed, on what, and what to do about it."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message


# Errors of a write that mean the disk, the quota or a size limit is used up, or the folder cannot be written.
_CANNOT_WRITE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))


def classify(error: BaseException) -> EngineError:
    """Gives any exception the failure that a person can act on; what nobody foresaw is INTERNAL.

    torch's out-of-memory error is told by name: torch need not be importable here, and its class moved between versions.
    """
    if isinstance(error, EngineError):
        return error
    text = f"{type(error).__name__}: {error}"
    if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError", "RuntimeError") and "out of memory" in text:
        return EngineError(Failure.GPU_OUT_OF_MEMORY,
                           f"the GPU's memory is used up ({text}); use the smaller detector, given boxes or a larger GPU")
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "DefaultCPUAllocator" in text:
        return EngineError(Failure.HOST_OUT_OF_MEMORY,
                           f"the host memory is used up ({text}); raise the memory limit of the engine's container")
    if isinstance(error, RuntimeError) and ("CUDA" in text or "NVIDIA" in text or "cuDNN" in text):
        return EngineError(Failure.GPU_UNAVAILABLE, f"the GPU does not work ({text}); check driver, CUDA version and the "
                                                    "architectures that this torch was built for")
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        where = f" at {error.filename}" if error.filename else ""
        return EngineError(Failure.OUTPUT_NOT_WRITABLE,
                           f"cannot write{where}: {error.strerror}; give the output volume more room")
    return EngineError(Failure.INTERNAL, text)


def one_line(text: str, limit: int = 600) -> str:
    """Makes text from a file or a library safe to print inside a quoted field of one log line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    squeezed = " ".join(printable.split()).replace("\\", "/").replace('"', "'")
    return squeezed if len(squeezed) <= limit else squeezed[: limit - 3] + "..."
