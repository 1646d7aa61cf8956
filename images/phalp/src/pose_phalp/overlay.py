"""overlay.mp4: the video with upstream's body meshes drawn on it, heads hidden first where that is wanted.

`blurred` hides the upper part of everybody whom the detector found, also of those who are too small to be reported, and for
half a second before somebody is first found and after they are last, so a frame is drawn that much later than it comes. It
cannot hide somebody who was never found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Iterable, List, Optional, Tuple

from pose_phalp.errors import EngineError, Failure, one_line
from pose_phalp.tracking import HISTORY_KEYS, Frame

NAME = "overlay.mp4"
HEAD_SHARE = 0.3  # of a person's box, from its top: head and neck, also of somebody who bends down a little
HEAD_MARGIN = 0.1
UPRIGHT = 0.6  # width by height of the box of somebody who walks; wider ones bend, sit or lie
PATCHES = 4.0  # across a hidden head
PATCH = 6.0  # pixels; the finest that is left of one
MARGIN_SECONDS = 0.5
MARGIN_BYTES = 512 << 20  # of pictures that wait for it
SAME = 0.3  # intersection over union of boxes of one person in frames close to each other

Edges = Tuple[float, float, float, float]  # left, top, right, bottom in pixels


def hide_heads(picture: Any, boxes: Any) -> None:
    """Replaces the upper part of each box (left, top, right, bottom in pixels) by a coarse mosaic, in place.

    All of a box that is as wide as high: the head of somebody who lies is at its side. Where the picture's lower edge cuts
    a person off, the head is a greater part of what is left. The patches are those of the whole head where the picture's
    edge cuts it, so that no finer picture is left of it.
    """
    import cv2
    height, width = picture.shape[:2]
    for left, top, right, bottom in boxes:
        wide, high = max(right - left, 1.0), max(bottom - top, 1.0)
        share = HEAD_SHARE + (1 - HEAD_SHARE) * min(max((wide / high - UPRIGHT) / (1 - UPRIGHT), 0.0), 1.0)
        if bottom >= 0.99 * height:
            share = max(share, min(1.2 * wide / high, 1.0))
        margin = HEAD_MARGIN * wide
        x0, x1 = max(int(left - margin), 0), min(int(right + margin) + 1, width)
        y0, y1 = max(int(top - margin), 0), min(int(top + share * high) + 1, height)
        if x1 > x0 and y1 > y0:
            part = picture[y0:y1, x0:x1]
            patch = max(min(wide, share * high) / PATCHES, PATCH)
            coarse = cv2.resize(part, (max(1, round((x1 - x0) / patch)), max(1, round((y1 - y0) / patch))),
                                interpolation=cv2.INTER_AREA)
            picture[y0:y1, x0:x1] = cv2.GaussianBlur(cv2.resize(coarse, (x1 - x0, y1 - y0)), (0, 0), 3)


def boxes_to_hide(frame: Frame, near: Iterable[Frame] = ()) -> List[Edges]:
    """Everybody found in the frame, those who are hidden at the moment where they were last, and those whom the frames
    near it show and this one does not: where they are there, and somewhat around."""
    last = [seen.data["bbox"] for seen in frame.sightings if seen.since]
    boxes = list(frame.found) + [(x, y, x + w, y + h) for x, y, w, h in last]
    for other in near:
        boxes += [_wider(box) for box in other.found if not any(_overlap(box, here) > SAME for here in frame.found)]
    return boxes


def _wider(box: Edges) -> Edges:
    left, top, right, bottom = box
    x, y = 0.2 * (right - left), 0.05 * (bottom - top)
    return left - x, top - y, right + x, bottom + y


def _overlap(a: Edges, b: Edges) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def as_render_entry(frame: Frame, picture: Any) -> Dict[str, Any]:
    """What upstream's visualizer reads of a frame."""
    entry: Dict[str, Any] = {"time": frame.index, "shot": 0, "frame": picture, "tid": [], "tracked_time": [], "bbox": []}
    entry.update({key: [] for key in HISTORY_KEYS})
    for seen in frame.sightings:
        entry["tid"].append(seen.tid)
        entry["tracked_time"].append(seen.since)
        entry["bbox"].append(seen.data["bbox"])
        for key in HISTORY_KEYS:
            entry[key].append(seen.data.get(key))
    return entry


class Overlay:
    """Draws frame after frame and encodes at once; the file appears under its name when it is complete."""

    def __init__(self, tracker: Any, folder: Path, fps: float, blurred: bool) -> None:
        self.tracker, self.blurred, self.fps = tracker, blurred, fps
        self.target, self.partial = folder / NAME, folder / f".{NAME}"
        self.writer: Optional[Any] = None
        # Frames that wait to be drawn, and boxes of those that were.
        self.ahead: Deque[Tuple[Frame, Any]] = deque()
        self.recent: Deque[Frame] = deque()
        render = tracker.cfg.render
        render.up_scale = int(render.output_resolution / render.res)
        tracker.visualizer.reset_render(render.res * render.up_scale)

    def add(self, frame: Frame) -> None:
        """Takes the next frame. It is drawn now, or with a later one where heads are hidden."""
        self.ahead.append((frame, frame.picture))
        if len(self.ahead) > self._margin():
            self._draw()

    def _margin(self) -> int:
        """Frames to wait for, and to remember."""
        if not self.blurred:
            return 0
        return min(max(1, round(MARGIN_SECONDS * self.fps)), max(1, MARGIN_BYTES // max(self.ahead[0][1].nbytes, 1)))

    def _draw(self) -> None:
        margin, (frame, picture) = self._margin(), self.ahead.popleft()
        picture = picture.copy()
        if self.blurred:
            hide_heads(picture, boxes_to_hide(frame, [*self.recent, *(later for later, _ in self.ahead)]))
            self.recent.append(Frame(frame.index, frame.number, frame.time, found=frame.found))
            while len(self.recent) > margin:
                self.recent.popleft()
        drawn, size = self.tracker.visualizer.render_video(as_render_entry(frame, picture))
        if self.writer is None:
            self.writer = open_writer(self.partial, size, self.fps)
        self.writer.write(drawn)

    def finish(self) -> None:
        while self.ahead:
            self._draw()
        if self.writer is not None:
            self.writer.close()
            os.replace(self.partial, self.target)

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.kill()
        self.partial.unlink() if self.partial.exists() else None


def open_writer(path: Path, size: Tuple[int, int], fps: float) -> Any:
    """ffmpeg with H.264 if the image has it, which browsers play; else OpenCV's MPEG-4."""
    program = shutil.which("ffmpeg")
    if program:
        known = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if b"libx264" in known.stdout:
            return FfmpegWriter(program, path, size, fps)
    return OpenCvWriter(path, size, fps)


class FfmpegWriter:
    """Raw pictures through a pipe. Sides are padded to even numbers, which 4:2:0 colour needs."""

    def __init__(self, program: str, path: Path, size: Tuple[int, int], fps: float) -> None:
        self.process = subprocess.Popen(
            [program, "-v", "error", "-y", "-protocol_whitelist", "file,pipe", "-f", "rawvideo", "-pix_fmt", "bgr24",
             "-video_size", f"{size[0]}x{size[1]}", "-framerate", f"{fps:.6f}", "-i", "pipe:0",
             "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23",
             "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", f"file:{path.resolve()}"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def write(self, picture: Any) -> None:
        try:
            self.process.stdin.write(picture.tobytes())  # type: ignore[union-attr]
        except BrokenPipeError:
            self.close()  # ffmpeg gave up: its own words become the error

    def close(self) -> None:
        _, said = self.process.communicate()
        if self.process.returncode != 0:
            words = one_line(said.decode("utf-8", "replace"), 200)
            raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"ffmpeg cannot write {NAME}: {words}; give the output volume more room")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class OpenCvWriter:
    """OpenCV says nothing when a disk is full; the file is counted at the end."""

    def __init__(self, path: Path, size: Tuple[int, int], fps: float) -> None:
        import cv2
        self.named = path.with_suffix(".tmp.mp4")  # OpenCV takes the container from the name
        self.path, self.size, self.count = path, size, 0
        self.video = cv2.VideoWriter(os.fspath(self.named), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
        if not self.video.isOpened():
            raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"OpenCV cannot write {NAME}; use --overlay none or add ffmpeg")

    def write(self, picture: Any) -> None:
        self.video.write(picture)
        self.count += 1

    def close(self) -> None:
        import cv2
        self.video.release()
        check = cv2.VideoCapture(os.fspath(self.named))
        stored = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if stored != self.count:
            raise EngineError(Failure.OUTPUT_NOT_WRITABLE,
                              f"{NAME} holds {stored} of {self.count} frames; give the output volume more room")
        os.replace(self.named, self.path)

    def kill(self) -> None:
        self.video.release()
        if self.named.exists():
            self.named.unlink()
