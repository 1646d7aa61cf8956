"""Frames of a video file through ffmpeg, one at a time.

The file is hostile input. ffmpeg may open that one local file and nothing else (protocol white list), and only container
formats that hold pictures themselves: playlists and concat scripts name other files and are refused.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from pose_onnx.errors import EngineError, Failure, one_line

CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,m4v,yuv4mpegpipe,ivf,mxf"
MAX_SIDE = 16384
MAX_PIXELS = 36_000_000  # a little more than 8K; one frame is then 108 MB
PROBE_SECONDS = 120
_INPUT_LIMITS = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
_STDERR_KEPT = 2048


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video: size in pixels after rotation, frames a second, and the number of frames it claims."""

    width: int
    height: int
    fps: float
    declared_frames: int | None


def probe(path: Path) -> VideoInfo:
    """Asks ffprobe for the facts of the first video stream; counts its packets, which needs no decoding."""
    if not path.is_file():
        raise EngineError(Failure.INPUT_UNREADABLE, f"{path} is not a regular file")
    command = ["ffprobe", "-v", "error", *_INPUT_LIMITS, "-select_streams", "v:0", "-count_packets",
               "-show_streams", "-of", "json", _file_url(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(Failure.INPUT_UNREADABLE, f"ffprobe did not finish within {PROBE_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")[-_STDERR_KEPT:]
        raise EngineError(Failure.INPUT_UNREADABLE, f"ffprobe cannot read the video: {one_line(said)}")
    return _info_from_streams(done.stdout)


def _info_from_streams(answer: bytes) -> VideoInfo:
    try:
        streams = json.loads(answer).get("streams", [])
    except ValueError:
        raise EngineError(Failure.INPUT_UNREADABLE, "ffprobe gave no readable answer") from None
    if not streams:
        raise EngineError(Failure.INPUT_UNREADABLE, "the file has no video stream")
    stream = streams[0]
    width, height = int(stream.get("width") or 0), int(stream.get("height") or 0)
    if _quarter_turns(stream) % 2:
        width, height = height, width
    if width < 1 or height < 1:
        raise EngineError(Failure.INPUT_UNREADABLE, "the video stream has no picture size")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise EngineError(Failure.INPUT_UNREADABLE, f"frames of {width}x{height} are larger than the engine accepts")
    packets = int(stream.get("nb_read_packets") or 0)
    return VideoInfo(width, height, _rate(stream), packets or None)


def _quarter_turns(stream: dict) -> int:
    """How often ffmpeg will turn the picture by 90 degrees when it decodes."""
    turns = (entry["rotation"] for entry in stream.get("side_data_list", []) if "rotation" in entry)
    return round(float(next(turns, 0)) / 90)


def _rate(stream: dict) -> float:
    for key in ("avg_frame_rate", "r_frame_rate"):
        try:
            rate = float(Fraction(stream.get(key) or "0"))
        except (ValueError, ZeroDivisionError):
            continue
        if 0 < rate <= 1000:
            return rate
    return 25.0  # still pictures and broken headers carry no rate


def _file_url(path: Path) -> str:
    """An absolute file: address, so that a name such as -y or concat:x is never read as an option or a protocol."""
    return "file:" + str(path.resolve())


def decode_command(path: Path, info: VideoInfo, threads: int) -> list[str]:
    """The ffmpeg call that writes the frames as raw BGR to stdout."""
    scale = f"scale={info.width}:{info.height}"  # a stream may change its size half way; the pipe's frames must not
    return ["ffmpeg", "-nostdin", "-v", "error", "-threads", str(threads), *_INPUT_LIMITS, "-i", _file_url(path),
            "-map", "0:v:0", "-vf", scale, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "bgr24", "pipe:1"]


class _Tail(threading.Thread):
    """Drains a pipe and keeps its last bytes: a broken file can make ffmpeg complain without end."""

    def __init__(self, pipe) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self.kept = b""
        self.start()

    def run(self) -> None:
        while chunk := self._pipe.read(4096):
            self.kept = (self.kept + chunk)[-_STDERR_KEPT:]


def read_frames(path: Path, info: VideoInfo, threads: int = 1) -> Iterator[np.ndarray]:
    """Yields each frame as uint8 of shape (height, width, 3), BGR.

    A video that breaks off half way yields what could be decoded; one without a single frame raises NO_FRAMES.
    """
    size = info.width * info.height * 3
    process = subprocess.Popen(decode_command(path, info, threads), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    tail = _Tail(process.stderr)
    count = 0
    try:
        while len(data := process.stdout.read(size)) == size:
            count += 1
            yield np.frombuffer(data, np.uint8).reshape(info.height, info.width, 3)
        process.wait()
    finally:
        process.kill()
        process.wait()
        tail.join(timeout=5)
        process.stdout.close()
        process.stderr.close()
    if count == 0:
        said = one_line(tail.kept.decode("utf-8", "replace")) or "ffmpeg gives no reason"
        raise EngineError(Failure.NO_FRAMES, f"no frame could be decoded: {said}")
