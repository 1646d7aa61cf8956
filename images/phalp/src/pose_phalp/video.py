"""The frames of the video, one after the other, straight from the decoder: no folder of pictures, no shell, no file names."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Tuple

from pose_phalp.errors import EngineError, Failure

MOST_PIXELS = 36_000_000
MOST_SIDE = 16_384
# A container's own count of frames may be a little off; what is missing beyond this was lost.
TOLERANCE_FRAMES = 2
TOLERANCE_SHARE = 0.01


@dataclass(frozen=True)
class Video:
    """width and height in pixels, fps as the container says, declared: its own count of frames, 0 if it has none."""

    path: Path
    width: int
    height: int
    fps: float
    declared: int


@dataclass
class Decoded:
    """How many frames were decoded so far, those between the strides too."""

    frames: int = 0


def unreadable(message: str) -> EngineError:
    return EngineError(Failure.INPUT_UNREADABLE, message)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import cv2  # every PHALP image has it; imported here so that options can be checked without
    # A playlist or a container that names other files must not make the decoder open them.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
    if not path.is_file():
        raise unreadable(f"the video {path} is missing or no file")
    capture = cv2.VideoCapture(os.fspath(path.resolve()))
    try:
        if not capture.isOpened():
            raise unreadable(f"{path.name} cannot be opened as a video; try to play it, or convert it to H.264 in MP4")
        yield capture
    finally:
        capture.release()


def probe(path: Path) -> Video:
    """What the container says of the video, with a first frame decoded to be sure of the size."""
    import cv2
    with _opened(path) as capture:
        good, frame = capture.read()
        if not good or frame is None:
            raise EngineError(Failure.NO_FRAMES, f"not one frame of {path.name} could be decoded")
        height, width = frame.shape[:2]
        if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
            raise unreadable(f"the frames of {path.name} have {width}x{height} pixels; at most 36 megapixels are read")
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        if not (math.isfinite(fps) and 0 < fps <= 1000):
            raise unreadable(f"{path.name} says it has {fps:g} frames a second; give it a rate of 0 to 1000")
        declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return Video(path, width, height, fps, int(declared) if 0 < declared < 10_000_000 else 0)


def count_frames(video: Video) -> int:
    """Counts by decoding, for those who must know exactly before the work begins."""
    with _opened(video.path) as capture:
        count = 0
        while capture.grab():
            count += 1
    return count


def read_frames(video: Video, stride: int, decoded: Decoded) -> Iterator[Tuple[int, float, Any]]:
    """Yields frame index, time in seconds and picture ((height, width, 3) uint8, BGR) of every stride-th frame.

    The time is the container's own where it is finite and moves on, else index / fps. Frames between are decoded but not
    converted. decoded counts all of them: give it to check_complete afterwards.
    """
    import cv2
    index, last = -1, -1.0
    with _opened(video.path) as capture:
        while capture.grab():
            index += 1
            decoded.frames = index + 1
            if index % stride:
                continue
            stamp = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            if not (math.isfinite(stamp) and stamp > last):
                stamp = max(index / video.fps, last + 1e-6)
            good, frame = capture.retrieve()
            if not good or frame is None or frame.shape[:2] != (video.height, video.width):
                raise unreadable(f"frame {index} of {video.path.name} cannot be decoded to {video.width}x{video.height} pixels")
            last = stamp
            yield index, stamp, frame


def check_complete(video: Video, decoded: int) -> None:
    """Fails if the video broke off: a result that covers less than the video must not look complete."""
    if decoded == 0:
        raise EngineError(Failure.NO_FRAMES, f"not one frame of {video.path.name} could be decoded")
    if is_short(video.declared, decoded):
        raise unreadable(f"{video.path.name} breaks off after {decoded} of {video.declared} frames: the file is damaged or "
                         "was cut while it was written")


def is_short(declared: int, decoded: int) -> bool:
    """Whether more frames are missing than a container's count is usually off."""
    return declared - decoded > max(TOLERANCE_FRAMES, TOLERANCE_SHARE * declared)
