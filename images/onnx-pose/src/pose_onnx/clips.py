"""Clips from a queue: the protocol of `--clips -`, by which models are loaded once and work through one video after another.

Each line of stdin is one JSON object, a clip. It is answered by `clip=N begin`, then by `clip=N result ...` on stdout or
`clip=N error ...` on stderr, before the next line is read. What is wrong with a clip costs that clip; what makes the process
itself doubtful ends it.

pose_mediapipe, pose_onnx and pose_phalp hold the same file, and a test of each compares them: an image is built from its own
folder alone. So it imports only what all three have, by relative names, and is written for Python 3.9.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Tuple

from . import log
from .errors import EngineError, Failure, classify

MOST_LINE = 32 << 10  # bytes: three paths, each character written as \uXXXX
MOST_PATH = 4096 - 256  # bytes of UTF-8: room for our own names below it
MOST_NUMBER = 2**31 - 1
MOST_RATE = 1_000_000  # frames a second
MOST_FOCAL_LENGTH = 1_000_000  # pixels
MOST_PEOPLE = 1000
OVERLAYS = ("none", "blurred", "full")
UNKNOWN = "unknown"  # in place of a number that cannot be read
# Failures that say something of the clip alone. After any other nobody knows what the models or the device would do next.
OF_THE_CLIP = frozenset(("USAGE", "INPUT_UNREADABLE", "NO_FRAMES", "OUTPUT_NOT_WRITABLE", "BOXES_INVALID"))
GRACE = 20  # seconds for an engine without a parent to end by itself


@dataclass(frozen=True)
class Clip:
    """One line of the queue. number: whoever filled the queue finds it again in the answers. start_frame: number, in the
    original video, of the file's first frame. capture_fps: frames a second that the camera took, 0 if as many as the file
    plays. focal_length_px: in pixels, 0 if unknown. max_people: 0 for all. boxes: None where the engine finds people itself."""

    number: int
    video: Path
    output_dir: Path
    start_frame: int = 0
    capture_fps: float = 0.0
    focal_length_px: float = 0.0
    max_people: int = 0
    boxes: Optional[Path] = None
    overlay: str = "none"


# --- one line ---------------------------------------------------------------------------------------------------------


def refuse(message: str) -> NoReturn:
    raise EngineError(Failure.USAGE, f"{message}; a clip is one line of JSON as the engine's README shows it")


def members_of(line: Optional[bytes]) -> Dict[str, Any]:
    """The JSON object of a line; None stands for a line that was too long."""
    if line is None:
        refuse(f"the line has more than {MOST_LINE} bytes")

    def unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            refuse("a member stands in the line twice")
        return dict(pairs)

    def constant(word: str) -> NoReturn:
        refuse(f"{word} in the line is no number")

    try:
        given = json.loads(line.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        refuse(f"the line is not JSON ({str(error)[:120]})")
    if not isinstance(given, dict):
        refuse("the line is JSON, but no object")
    return given


def _whole(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        refuse(f"{name} must be a whole number from 0 to {most}")
    return value


def _number(name: str, value: Any, most: float) -> float:
    # The order matters: a whole number too large for a float is refused before it becomes one.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most or not math.isfinite(value):
        refuse(f"{name} must be a number from 0 to {most}")
    return float(value)


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        refuse(f"{name} must be an absolute path")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:  # JSON can write half a character
        refuse(f"{name} is not Unicode")
    if size > MOST_PATH or any(ord(c) < 32 or ord(c) == 127 for c in value):
        refuse(f"{name} has more than {MOST_PATH} bytes or a control character")
    return Path(value)


def _boxes(name: str, value: Any) -> Optional[Path]:
    return None if value == "" else _path(name, value)


def _overlay(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in OVERLAYS:
        refuse(f"{name} must be one of {', '.join(OVERLAYS)}")
    return value


# Name of a member in the line, its name in Clip, and how it is read.
_MEMBERS: Dict[str, Tuple[str, Callable[[str, Any], Any]]] = {
    "clip": ("number", lambda name, value: _whole(name, value, MOST_NUMBER)),
    "video": ("video", _path),
    "outputDir": ("output_dir", _path),
    "startFrame": ("start_frame", lambda name, value: _whole(name, value, MOST_NUMBER)),
    "captureFPS": ("capture_fps", lambda name, value: _number(name, value, MOST_RATE)),
    "focalLengthPx": ("focal_length_px", lambda name, value: _number(name, value, MOST_FOCAL_LENGTH)),
    "maxPeople": ("max_people", lambda name, value: _whole(name, value, MOST_PEOPLE)),
    "boxes": ("boxes", _boxes),
    "overlay": ("overlay", _overlay),
}
_NEEDED = ("clip", "video", "outputDir")


def number_of(given: Dict[str, Any]) -> str:
    """The clip's number as the answers name it: known before anything else of the line is judged."""
    number = given.get("clip")
    return str(number) if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST_NUMBER else UNKNOWN


def clip_of(given: Dict[str, Any]) -> Clip:
    """The members as a clip. EngineError USAGE names the one that is wrong, missing or unknown."""
    for name in given:
        if name not in _MEMBERS:
            refuse(f"the line has a member {name[:40]!r}, which no clip has")
    for name in _NEEDED:
        if name not in given:
            refuse(f"the line has no member {name!r}")
    return Clip(**{field: read(name, given[name]) for name, (field, read) in _MEMBERS.items() if name in given})


# --- the queue --------------------------------------------------------------------------------------------------------


def take() -> int:
    """Takes stdin for the queue and watches the parent. Call it before any library is loaded.

    The queue moves to a descriptor that children do not get, and nothing takes its place: a library or a program that reads
    stdin must not eat a clip.
    """
    try:
        queue = os.dup(0)
    except OSError:
        raise EngineError(Failure.USAGE, "--clips - reads clips from stdin, which is closed: start the engine with a "
                                         "pipe") from None
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    return queue


def _end_with_parent(parent: int) -> None:
    """Ends the process when whoever started it is gone: in the middle of a clip nothing else would tell. The kernel's own
    signal for it (PR_SET_PDEATHSIG) would not do: it comes when the parent's thread ends, and threads of a living parent do."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)  # so that files half written are removed
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def read_lines(queue: int) -> Iterator[Optional[bytes]]:
    """The lines of a descriptor, each as soon as it is whole; None for one that is too long, however long it is."""
    held, skipping = b"", False
    while True:
        data = os.read(queue, 1 << 16)
        if not data:
            break
        whole = (held + data).split(b"\n")
        held = whole.pop()
        for line in whole:
            yield None if skipping or len(line) > MOST_LINE else line
            skipping = False
        if len(held) > MOST_LINE:
            held, skipping = b"", True
    if held or skipping:
        yield None if skipping else held


def serve(queue: int, work: Callable[[Clip], Tuple[int, int]]) -> None:
    """Works through the queue to its end. work gives the numbers of frames and people of a clip whose result is in place.

    Raises EngineError for what makes the process unfit; its message begins with the clip that it happened in.
    """
    log.say("ready")
    for line in read_lines(queue):
        if line is None or line.strip():
            _answer(line, work)
            gc.collect()  # what a clip left in circles, such as pictures and open files, must not wait for the next one's


def _answer(line: Optional[bytes], work: Callable[[Clip], Tuple[int, int]]) -> None:
    number, failure = UNKNOWN, None
    try:
        given = members_of(line)
        number = number_of(given)
        clip = clip_of(given)
        log.say(f"clip={number} begin")
        frames, people = work(clip)
        log.say(f"clip={number} result frames={frames} people={people}")
    except Exception as error:
        failure = _failure_of(error)
    if failure is not None:
        if failure.failure.name not in OF_THE_CLIP:
            raise EngineError(failure.failure, f"clip={number}: {failure.message}")
        log.error(failure, clip=number)


def _failure_of(error: Exception) -> EngineError:
    """A new one, which holds no traceback: that would keep the clip's pictures and programs alive."""
    known = classify(error)
    if known.failure is Failure.INTERNAL and not isinstance(error, (EngineError, MemoryError)):
        try:
            traceback.print_exc()
        except Exception:
            pass  # a library may have closed the stream
    return EngineError(known.failure, known.message)
