"""A queue of clips for the tests of every engine: starts it with `--clips -`, hands out lines and collects the answers."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

ANSWER = re.compile(r'pose-engine: clip=(\d+|unknown) (result frames=\d+ people=\d+|error code=[A-Z_]+ message="[^"\n]*")')
HANGS = 180  # seconds without a line after which a test fails rather than waits for ever
PACKAGES = ("mediapipe/src/pose_mediapipe", "onnx-pose/src/pose_onnx", "phalp/src/pose_phalp")


def differing_copies(images: Path) -> list[str]:
    """The packages whose clips.py is another than the first one's."""
    texts = {package: (images / package / "clips.py").read_bytes() for package in PACKAGES}
    return [package for package, text in texts.items() if text != texts[PACKAGES[0]]]


@dataclass(frozen=True)
class Answer:
    """What the engine said of one clip: its number or `unknown`, its error code or None, and the rest of the line."""

    clip: str
    code: str | None
    text: str


@dataclass
class Queue:
    """An engine at work. lines: all that it said, both streams in order, as pose-runner reads them."""

    process: subprocess.Popen
    lines: list[str] = field(default_factory=list)
    _answers: SimpleQueue = field(default_factory=SimpleQueue)

    @classmethod
    def start(cls, command: list[str], **how) -> Queue:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
        queue = cls(process)
        threading.Thread(target=queue._read, daemon=True).start()
        return queue

    def _read(self) -> None:
        for line in self.process.stdout:
            text = line.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(text)
            self._answers.put(text)
        self._answers.put(None)

    def wait_for(self, pattern: str) -> str:
        """The next line that matches; fails with the log where the engine ends before."""
        while (line := self._answers.get(timeout=HANGS)) is not None:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line like {pattern!r}:\n" + "\n".join(self.lines[-40:]))

    def send(self, line: bytes) -> None:
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def put(self, number: int, video: Path, folder: Path, **more) -> None:
        """One clip, not waited for."""
        folder.mkdir(exist_ok=True)
        self.send(json.dumps({"clip": number, "video": str(video), "outputDir": str(folder), **more}).encode() + b"\n")

    def answer(self) -> Answer:
        found = ANSWER.search(self.wait_for(ANSWER.pattern))
        code = re.match(r"error code=([A-Z_]+)", found.group(2))
        return Answer(found.group(1), code and code.group(1), found.group(2))

    def ask(self, number: int, video: Path, folder: Path, **more) -> Answer:
        self.put(number, video, folder, **more)
        return self.answer()

    def end(self) -> int:
        """Closes the queue and gives the exit code."""
        self.process.stdin.close()
        return self.process.wait(120)

    def stages(self) -> list[str]:
        return [line.split("stage=")[1] for line in self.lines if line.startswith("pose-engine: stage=")]

    def resident(self) -> int:
        """Memory in KiB that the process itself holds, without pages of files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status).group(1))

    def files(self) -> list[str]:
        """What its descriptors point to."""
        found = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found.append(os.readlink(entry))
            except OSError:
                pass  # closed in between
        return sorted(found)


_PARENT = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print('PID', p.pid, flush=True); p.wait()"


def ends_without_its_parent(command: list[str], env: dict[str, str], line: bytes, at_work: str, within: float) -> bool:
    """Starts the engine below a process that is killed when a line of the log matches at_work. The pipe's other end stays open
    here, so that no end of stdin tells the engine. Whether it ended within so many seconds."""
    read, write = os.pipe()
    os.write(write, line)
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, *command], stdin=read, stdout=subprocess.PIPE, text=True, env=env)
    try:
        engine = int(re.match(r"PID (\d+)", parent.stdout.readline()).group(1))
        watch = os.pidfd_open(engine)
        assert any(re.search(at_work, text) for text in parent.stdout), "the engine ended before"
        parent.kill()
        ended = bool(select.select([watch], [], [], within)[0])
        if not ended:
            os.kill(engine, signal.SIGKILL)
        os.close(watch)
        return ended
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        os.close(read)
        os.close(write)


def same_files(a: Path, b: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(p.name for p in a.iterdir())
    return names == sorted(p.name for p in b.iterdir()) and all((a / n).read_bytes() == (b / n).read_bytes() for n in names)
