"""overlay.mp4: the video with upstream's body meshes drawn on it, heads hidden first where that is wanted.

`blurred` hides the upper part of everybody whom the detector found, also of those who are too small to be reported. It cannot
hide somebody who was never found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from pose_phalp.errors import EngineError, Failure, one_line
from pose_phalp.tracking import HISTORY_KEYS, Frame

NAME = "overlay.mp4"
HEAD_SHARE = 0.3  # of a person's box, from its top: head and neck, also of somebody who bends down a little
HEAD_MARGIN = 0.1
MOSAIC = 5  # squares across a hidden head


def hide_heads(picture: Any, boxes: Any) -> None:
    """Replaces the upper part of each box (left, top, right, bottom in pixels) by a coarse mosaic, in place."""
    import cv2
    height, width = picture.shape[:2]
    for left, top, right, bottom in boxes:
        margin = HEAD_MARGIN * (right - left)
        x0, x1 = max(int(left - margin), 0), min(int(right + margin) + 1, width)
        y0, y1 = max(int(top - margin), 0), min(int(top + HEAD_SHARE * (bottom - top)) + 1, height)
        if x1 > x0 and y1 > y0:
            part = picture[y0:y1, x0:x1]
            coarse = cv2.resize(part, (MOSAIC, MOSAIC), interpolation=cv2.INTER_AREA)
            picture[y0:y1, x0:x1] = cv2.GaussianBlur(cv2.resize(coarse, (x1 - x0, y1 - y0)), (0, 0), 3)


def boxes_to_hide(frame: Frame) -> list:
    """Everybody found in the frame, and those who are hidden at the moment where they were last."""
    last = [seen.data["bbox"] for seen in frame.sightings if seen.since]
    return list(frame.found) + [(x, y, x + w, y + h) for x, y, w, h in last]


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
        render = tracker.cfg.render
        render.up_scale = int(render.output_resolution / render.res)
        tracker.visualizer.reset_render(render.res * render.up_scale)

    def add(self, frame: Frame) -> None:
        picture = frame.picture.copy()
        if self.blurred:
            hide_heads(picture, boxes_to_hide(frame))
        drawn, size = self.tracker.visualizer.render_video(as_render_entry(frame, picture))
        if self.writer is None:
            self.writer = open_writer(self.partial, size, self.fps)
        self.writer.write(drawn)

    def finish(self) -> None:
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
