"""The pictures for people: overlay.mp4 with drawn skeletons, and contact-sheet.png with a dozen frames of it.

Privacy: `blurred` hides the head of everybody the engine noticed, also of those it was not sure enough about to report.
With `none` no picture of the video is written; the sheet then shows the skeletons on a plain ground.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from pose_mediapipe.draw import Circle, draw_frame_number, draw_person, head_circles, hide_circle
from pose_mediapipe.errors import EngineError, Failure, one_line
from pose_mediapipe.result import People, PersonFrame, Video

VIDEO_NAME = "overlay.mp4"
SHEET_NAME = "contact-sheet.png"
MODES = ("none", "blurred", "full")
SHEET_FRAMES = 12
SHEET_COLUMNS = 3
CELL_WIDTH = 520  # pixels
CELL_MAX_HEIGHT = 520
GROUND = (48, 42, 40)
MARGIN_SECONDS = 0.5  # heads are hidden so long before somebody is first noticed and after they are last


def sheet_frames(count: int) -> list[int]:
    """Up to a dozen evenly spaced frame indices of a result with count frames."""
    shown = min(SHEET_FRAMES, count)
    return [int((i + 0.5) * count / shown) for i in range(shown)]


class HeadHider:
    """Where heads are, also for a while before a person is first and after they are last seen.

    margin: frames of that while, each way. There, and between two sightings, nobody knows the exact place: the circles grow.
    """

    def __init__(self, people: People, video: Video) -> None:
        self._frames = people.frames(video.frames)
        self._margin = max(1, round(MARGIN_SECONDS * video.fps))
        self._height = video.height
        self._ahead: list[list[PersonFrame]] = []
        self._recent: list[list[PersonFrame]] = []

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
        return [(x, y, r * self._growth(person, away)) for person, away in nearest.values()
                for x, y, r in head_circles(person, self._height)]

    def _growth(self, person: PersonFrame, away: int) -> float:
        if away:
            return 1.3 + 0.7 * away / self._margin
        return 1.0 if person.observed else 1.5


def draw_frames(frames: Iterable[np.ndarray], people: People, video: Video, hider: HeadHider | None,
                sheet: Sheet) -> Iterator[np.ndarray]:
    """Each frame as a new picture with its skeletons; the sheet gets the frames it wants on the way."""
    for index, (frame, present) in enumerate(zip(frames, people.frames(video.frames), strict=False)):
        picture = frame.copy()
        if hider is not None:
            for circle in hider.circles():
                hide_circle(picture, *circle)
        if sheet.wants(index):
            sheet.add(index, picture, present)
        for person in present:
            draw_person(picture, person)
        draw_frame_number(picture, video.start_frame + index, len(present))
        yield picture


def draw_plain_sheet(people: People, video: Video, sheet: Sheet) -> None:
    """Fills the sheet with skeletons alone."""
    for index, present in enumerate(people.frames(video.frames)):
        if sheet.wants(index):
            sheet.add(index, None, present)


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


class Sheet:
    """Collects a dozen small pictures and lays them out in one."""

    def __init__(self, video: Video) -> None:
        self._scale = min(CELL_WIDTH / video.width, CELL_MAX_HEIGHT / video.height)
        self._size = (max(1, round(video.width * self._scale)), max(1, round(video.height * self._scale)))
        self._wanted = sheet_frames(video.frames)
        self._start = video.start_frame
        self._cells: list[np.ndarray] = []

    def wants(self, index: int) -> bool:
        return index in self._wanted

    def add(self, index: int, ground: np.ndarray | None, people: list[PersonFrame]) -> None:
        """ground is the frame behind the skeletons (heads hidden already where wanted), None for a plain one."""
        cell = np.full((self._size[1], self._size[0], 3), GROUND, np.uint8)
        if ground is not None:
            smaller = self._scale < 1
            cell = cv2.resize(ground, self._size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        for person in people:
            draw_person(cell, person, self._scale)
        draw_frame_number(cell, self._start + index, len(people))
        self._cells.append(cell)

    def picture(self) -> np.ndarray:
        """The whole sheet, BGR."""
        gap, (w, h) = 6, self._size
        columns = min(SHEET_COLUMNS if w >= h else 2 * SHEET_COLUMNS, len(self._cells))
        rows = math.ceil(len(self._cells) / columns)
        sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 24, np.uint8)
        for i, cell in enumerate(self._cells):
            y, x = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
            sheet[y:y + h, x:x + w] = cell
        return sheet


def write_sheet(sheet: Sheet, folder: Path) -> None:
    encoded, data = cv2.imencode(".png", sheet.picture())
    if not encoded:
        raise EngineError(Failure.INTERNAL, f"{SHEET_NAME} could not be encoded")
    partial = folder / f".{SHEET_NAME}.partial"
    try:
        partial.write_bytes(data.tobytes())
        os.replace(partial, folder / SHEET_NAME)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write {SHEET_NAME} in {folder}: {error.strerror}") from None
