"""The video for people: overlay.mp4 with drawn skeletons.

Privacy: `blurred` hides the head of everybody the engine noticed, also of those it was not sure enough about to report.
With `none` no picture of the video is written.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from pose_onnx.draw import Circle, box_head, draw_frame_number, draw_person, head_circles, hide_circle
from pose_onnx.errors import EngineError, Failure, one_line
from pose_onnx.result import People, PersonFrame, Video
from pose_onnx.skeleton import Skeleton

VIDEO_NAME = "overlay.mp4"
MODES = ("none", "blurred", "full")
MARGIN_SECONDS = 0.5  # heads are hidden so long before somebody is first noticed and after they are last


class HeadHider:
    """Where heads are, also for a while before a person is first and after they are last seen. There, and between two
    sightings, nobody knows the exact place: the circles grow."""

    def __init__(self, noticed: People, strays: list[np.ndarray], skeleton: Skeleton, video: Video) -> None:
        """strays: boxes (n, 4) of each frame that belong to nobody."""
        self._skeleton, self._strays, self._height = skeleton, strays, video.height
        self._frames = noticed.frames(len(strays))
        self._margin = max(1, round(MARGIN_SECONDS * video.fps))
        self._ahead: list[list[PersonFrame]] = []
        self._recent: list[list[PersonFrame]] = []
        self._next = 0

    def circles(self) -> list[Circle]:
        """The circles to hide in the next frame."""
        while len(self._ahead) <= self._margin and (people := next(self._frames, None)) is not None:
            self._ahead.append(people)
        now = self._ahead.pop(0) if self._ahead else []
        nearest = {p.id: (p, 0) for p in now}
        for away in range(1, self._margin + 1):
            for people in (self._recent[-away:][:1], self._ahead[away - 1:away]):
                for person in people[0] if people else []:
                    nearest.setdefault(person.id, (person, away))
        self._recent = [*self._recent, now][-self._margin:]
        first = max(self._next - self._margin, 0)
        stray = [box_head(box, self._height) for boxes in self._strays[first:self._next + self._margin + 1] for box in boxes]
        self._next += 1
        return stray + [(x, y, r * self._growth(person, away)) for person, away in nearest.values()
                        for x, y, r in head_circles(person, self._skeleton, self._height)]

    def _growth(self, person: PersonFrame, away: int) -> float:
        if away:
            return 1.3 + 0.7 * away / self._margin
        return 1.0 if person.observed else 1.5


def draw_frames(frames: Iterable[np.ndarray], people: People, video: Video, skeleton: Skeleton,
                hider: HeadHider | None, staged: bool) -> Iterator[np.ndarray]:
    """Each frame as a new picture with its skeletons. staged: write that they mean nothing."""
    for index, (frame, present) in enumerate(zip(frames, people.frames(video.frames), strict=False)):
        picture = frame.copy()
        for circle in hider.circles() if hider else []:
            hide_circle(picture, *circle)
        for person in present:
            draw_person(picture, person, skeleton)
        draw_frame_number(picture, video.start_frame + index, len(present), staged)
        yield picture


def encode_command(video: Video, target: Path) -> list[str]:
    """The ffmpeg call that turns raw BGR frames on stdin into an H.264 file that browsers play."""
    rate = Fraction(video.fps).limit_denominator(100_000)
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # 4:2:0 colour needs even sides
    return ["ffmpeg", "-v", "error", "-y", "-protocol_whitelist", "file,pipe", "-f", "rawvideo", "-pix_fmt", "bgr24",
            "-video_size", f"{video.width}x{video.height}", "-framerate", str(rate), "-i", "pipe:0", "-vf", even,
            "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-movflags", "+faststart",
            "-f", "mp4", "file:" + str(target.resolve())]


def write_video(pictures: Iterable[np.ndarray], video: Video, folder: Path, progress: Callable[[int], None]) -> None:
    """Encodes the pictures to overlay.mp4, under a temporary name until it is complete."""
    partial = folder / f".{VIDEO_NAME}.partial"
    process = subprocess.Popen(encode_command(video, partial), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    assert process.stdin is not None
    try:
        for index, picture in enumerate(pictures):
            process.stdin.write(picture.tobytes())
            progress(index + 1)
    except BrokenPipeError:
        pass  # ffmpeg gave up; its own words follow below
    except BaseException:
        process.kill()
        process.communicate()
        partial.unlink(missing_ok=True)
        raise
    _, said = process.communicate()
    if process.returncode != 0:
        partial.unlink(missing_ok=True)
        words = one_line(said.decode("utf-8", "replace"))
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"ffmpeg cannot write {VIDEO_NAME}: {words}")
    os.replace(partial, folder / VIDEO_NAME)
