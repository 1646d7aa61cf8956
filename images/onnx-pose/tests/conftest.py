"""What the tests share: the command as users run it, models, and small videos made by ffmpeg."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import make_models
import onnx
import pytest

SOURCES = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True)
class Outcome:
    """How one run of the command ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def stages(self) -> list[str]:
        prefix = "pose-engine: stage="
        return [line[len(prefix):] for line in self.out.splitlines() if line.startswith(prefix)]


def engine(video: Path, folder: Path, *options: object) -> Outcome:
    """Runs the command in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pose_onnx", "--video", str(video), "--output-dir", str(folder), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SOURCES)}, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr, folder)


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def red_square_video(path: Path, frames: int, size: str = "320x240", step: int = 4) -> Path:
    """A red square of 24 pixels on black; in frame n its left top corner is at (40 + step n, 100)."""
    place = f"overlay=x=40+{step}*n:y=100:eval=frame:format=rgb"
    ffmpeg("-f", "lavfi", "-i", f"color=black:size={size}:rate=10:duration={frames / 10}", "-f", "lavfi", "-i",
           f"color=red:size=24x24:rate=10:duration={frames / 10}", "-filter_complex", place, "-c:v", "ffv1", "-pix_fmt", "bgr0",
           str(path))
    return path


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Path:
    """A folder of models: the real architectures with random weights, at small input sizes to save time."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "yolo": make_models.yolov8n_pose(192, bias=-2)[0],
        "yolo-final": make_models.yolov8n_pose(192, final=True, bias=-2)[0],
        "yolo-5-joints": make_models.yolov8n_pose(64, joints=5)[0],
        "rtmpose": make_models.rtmpose_s()[0],
        "rtmpose-133-one": make_models.rtmpose_s(133, batch=1)[0],
        "yolox": make_models.yolox_nano(192, classes=1, bias=0)[0],
        "rtmdet": make_models.rtmdet_nano(192, bias=-3.5)[0],
    }
    for name, model in made.items():
        onnx.save(model, folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="session")
def testcard(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "testcard.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=250x180:rate=10:duration=0.8", "-pix_fmt", "yuv420p", str(path))
    return path
