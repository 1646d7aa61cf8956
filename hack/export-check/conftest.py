"""Runs the real command on the results in testdata, once a format and result."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "internal" / "export" / "testdata"
# By the PHALP adapter's own writer, which shares no code with the exporters.
PHALP = ROOT / "internal" / "result" / "testdata" / "phalp"
RESULTS = ("mediapipe", "smpl", "phalp")


class Result:
    """A pose.json, indexed by frame and person."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = PHALP if name == "phalp" else TESTDATA / name
        self.document = json.loads((self.folder / "pose.json").read_text())
        self.names = self.document["skeleton"]["joints"]
        self.ids = [p["id"] for p in self.document["people"]]
        self.people = {(f["index"], p["id"]): p for f in self.document["frames"] for p in f["people"]}
        video = self.document["video"]
        self.rate = video.get("captureFPS", video["fps"])

    def track(self, person: int) -> range:
        t = next(p for p in self.document["people"] if p["id"] == person)
        return range(t["firstFrame"], t["lastFrame"] + 1)

    def seconds(self, frame: int) -> float:
        """In the world, since frame 0."""
        frames, video = self.document["frames"], self.document["video"]
        if "time" in frames[0]:
            return (frames[frame]["time"] - frames[0]["time"]) * video["fps"] / self.rate
        return frame / self.rate

    def points(self, frame: int, person: int) -> np.ndarray | None:
        """Joints in metres, Y up: x right, y up, z towards the camera. None where the person is absent."""
        p = self.people.get((frame, person))
        if p is None:
            return None
        return (np.array(p["joints3d"]) + p.get("translation", [0, 0, 0])) * [1, -1, -1]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("bin") / "kubectl-pose"
    subprocess.run(["go", "build", "-o", binary, "./cmd/kubectl-pose"], cwd=ROOT, check=True)
    return binary


@pytest.fixture(scope="session", params=RESULTS)
def result(request: pytest.FixtureRequest) -> Result:
    return Result(request.param)


@pytest.fixture(scope="session")
def smpl() -> Result:
    return Result("smpl")


@pytest.fixture(scope="session", params=("smpl", "phalp"))
def smpl_or_phalp(request: pytest.FixtureRequest) -> Result:
    return Result(request.param)


@pytest.fixture(scope="session")
def export(command: Path, tmp_path_factory: pytest.TempPathFactory):
    """Gives the folder of a result's files in a format."""
    made: dict[tuple, Path] = {}

    def run(result: Result, format: str, *options: str) -> Path:
        key = (result.name, format, *options)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"{result.name}-{format}")
            subprocess.run([command, "export", result.folder, "--format", format, "--out", made[key], *options],
                           check=True, capture_output=True, text=True)
        return made[key]

    return run
