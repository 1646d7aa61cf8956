"""What the tests share: the pedestrian video, the command as users run it, and small videos made by ffmpeg."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1] / "src"
PEDESTRIANS = Path(os.environ.get("POSE_TEST_VIDEO", "/usr/share/doc/opencv-doc/examples/data/vtest.avi"))


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


def engine(video: Path, folder: Path, *options: str, file_limit: int | None = None) -> Outcome:
    """Runs the command in a process of its own, which may write no file larger than file_limit bytes."""
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pose_mediapipe", "--video", str(video), "--output-dir", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SOURCES)},
                          preexec_fn=limit, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr, folder)


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def probe_size(path: Path) -> str:
    """The stored picture size, for example 64x48."""
    return subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height",
                           "-of", "csv=p=0:s=x", str(path)], capture_output=True, text=True, check=True).stdout.strip().rstrip("x")


@pytest.fixture(scope="session")
def pedestrians() -> Path:
    if not PEDESTRIANS.is_file():
        pytest.fail(f"{PEDESTRIANS} is missing: install Debian's opencv-doc or set POSE_TEST_VIDEO")
    return PEDESTRIANS


@pytest.fixture(scope="session")
def street(pedestrians: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The engine on the first 40 frames of the pedestrians, run once for all tests that read its result."""
    return engine(pedestrians, tmp_path_factory.mktemp("street") / "out", "--frames", "0:40", "--overlay", "blurred")
