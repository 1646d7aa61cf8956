"""What the tests of the run path share: small videos of bright rectangles, the command as it is started, how it ended."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import contract
import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "src"


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

    @property
    def result(self) -> dict:
        """The document, checked against the schema and every rule of docs/pose-json.md, smpl.npz with it."""
        return contract.load(self.folder)[0]


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("TORCH_HOME", "FVCORE_CACHE", "XDG_CACHE_HOME")}
    return kept | {"HOME": str(home), "PYTHONPATH": f"{SOURCES}:{HERE / 'standins'}", "PYTHONDONTWRITEBYTECODE": "1"} | more


def start(arguments: list[str], home: Path, file_limit: int | None = None, **more: str) -> subprocess.Popen:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.Popen([sys.executable, str(HERE / "standin_run.py"), *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(home, **more),
                            preexec_fn=limit)


def phalp(video: Path, folder: Path, home: Path, *options: str, device: str = "cpu", file_limit: int | None = None,
          **more: str) -> Outcome:
    """Runs `pose-phalp run` in a process of its own, which may write no file larger than file_limit bytes."""
    folder.mkdir(exist_ok=True)
    arguments = ["run", "--video", str(video), "--output-dir", str(folder), "--device", device, *options]
    process = start(arguments, home, file_limit, **more)
    out, err = process.communicate()
    return Outcome(process.returncode, out, err, folder)


def walkers(path: Path, frames: int, people: int = 2, size: tuple[int, int] = (320, 240), body: tuple[int, int] = (60, 120),
            until: int | None = None) -> Path:
    """A video with so many bright rectangles of body's width and height in pixels, that move a little; gone from frame until on."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size)
    for number in range(frames):
        picture = np.full((size[1], size[0], 3), 40, dtype=np.uint8)
        for k in range(people if until is None or number < until else 0):
            x, y = 30 + 140 * k + number % 20, 60 + number % 10
            cv2.rectangle(picture, (x, y), (x + body[0] - 1, y + body[1] - 1), (230, 230, 230), -1)
        writer.write(picture)
    writer.release()
    return path
