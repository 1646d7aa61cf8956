"""The pose.json document (docs/pose-json.md): tracks to numbers, numbers to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_onnx import __version__
from pose_onnx.analysis import Track
from pose_onnx.errors import EngineError, Failure
from pose_onnx.skeleton import Skeleton

API_VERSION = "pose.dev/v1alpha1"
FILE_NAME = "pose.json"


@dataclass(frozen=True)
class PersonFrame:
    """One person in one frame. box [x, y, w, h] and points (joints, 3) in frame pixels; the third number is 0..1."""

    id: int
    box: np.ndarray
    score: float
    points: np.ndarray
    observed: bool


@dataclass(frozen=True)
class Video:
    """The video facts of the document. fps and capture_fps frames a second, capture_fps 0 if the same; sizes in pixels."""

    width: int
    height: int
    fps: float
    frames: int
    start_frame: int
    capture_fps: float = 0.0


@dataclass(frozen=True)
class Engine:
    """The engine facts of the document. models: (file name, sha256). staged: a model has random weights, so that the poses
    mean nothing."""

    name: str
    device: str
    models: list[tuple[str, str]]
    staged: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} (staged: random weights)" if self.staged else self.name


class People:
    """Tracks with ids, their gaps filled by straight lines. Ids are 1, 2, ... in the order of appearance, or the tracks'
    own numbers where the user gave them."""

    def __init__(self, tracks: list[Track], width: int, height: int, keep_ids: bool = False) -> None:
        numbered = [(t.key if keep_ids else k, t) for k, t in enumerate(tracks, 1)]
        self._tracks = sorted(numbered, key=lambda pair: pair[0])
        self._size = (width, height)

    def __len__(self) -> int:
        return len(self._tracks)

    def summary(self) -> list[dict]:
        """The document's people[]."""
        return [{"id": number, "firstFrame": t.frames[0], "lastFrame": t.frames[-1], "framesSeen": len(t.frames)}
                for number, t in self._tracks]

    def frames(self, count: int) -> Iterator[list[PersonFrame]]:
        """The people of frames 0..count-1, ids ascending."""
        cursors = [0] * len(self._tracks)
        for frame in range(count):
            present = []
            for i, (number, track) in enumerate(self._tracks):
                while cursors[i] + 1 < len(track.frames) and track.frames[cursors[i] + 1] <= frame:
                    cursors[i] += 1
                if track.frames[0] <= frame <= track.frames[-1]:
                    present.append(self._person(number, track, cursors[i], frame))
            yield present

    def _person(self, number: int, track: Track, at: int, frame: int) -> PersonFrame:
        box, score, points = track.boxes[at], track.scores[at], track.points[at]
        observed = track.frames[at] == frame
        if not observed:
            share = (frame - track.frames[at]) / (track.frames[at + 1] - track.frames[at])
            box, score, points = (a + share * (b - a) for a, b in (
                (box, track.boxes[at + 1]), (score, track.scores[at + 1]), (points, track.points[at + 1])))
            points[:, 2] = 0
        return PersonFrame(number, fit_box(box, *self._size), float(np.clip(score, 0, 1)), self._fit(points), observed)

    def _fit(self, points: np.ndarray) -> np.ndarray:
        """Brings numbers into the document's limits; a model's wild guess must not spoil a whole result."""
        size = np.array(self._size, np.float64)
        places = np.clip(points[:, :2].astype(np.float64), -2 * size, 3 * size)
        return np.column_stack([places, np.clip(points[:, 2], 0, 1)])


def fit_box(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """The box moved and shrunk by as little as makes it touch the frame (rule R9) and keeps its size positive."""
    x, y, w, h = (float(v) for v in np.nan_to_num(box))
    w, h = min(max(w, 1.0), 3.0 * width), min(max(h, 1.0), 3.0 * height)
    x = min(max(x, 0.5 - w), width - 0.5)
    y = min(max(y, 0.5 - h), height - 0.5)
    return np.array([x, y, w, h])


def header(video: Video, engine: Engine, skeleton: Skeleton, people: People, judged: dict) -> dict:
    """Everything before frames[]; judged is the document's quality."""
    facts = {"width": video.width, "height": video.height, "fps": round(video.fps, 6), "frames": video.frames,
             "startFrame": video.start_frame, "durationSeconds": round(video.frames / video.fps, 3)}
    if video.capture_fps:
        facts["captureFPS"] = video.capture_fps
    return {
        "apiVersion": API_VERSION,
        "kind": "PoseResult",
        "video": facts,
        "engine": {"name": engine.title, "version": __version__, "device": engine.device,
                   "models": [{"name": name, "sha256": digest} for name, digest in engine.models]},
        "skeleton": {"name": skeleton.name, "joints": list(skeleton.joints), "edges": [list(e) for e in skeleton.edges]},
        "units": {"bbox": "pixels", "joints2d": "pixels"},
        "coordinates": {"image": "x-right-y-down"},
        "quality": judged,
        "people": people.summary(),
    }


def person_entry(person: PersonFrame) -> dict:
    """One element of frames[].people[], rounded as the format says."""
    joints = np.column_stack([np.round(person.points[:, :2], 1), np.round(person.points[:, 2], 2)])
    entry = {"id": person.id, "bbox": np.round(person.box, 1).tolist(), "score": round(person.score, 3)}
    if not person.observed:
        entry["observed"] = False
    return entry | {"joints2d": joints.tolist()}


def document(head: dict, frames: Iterator[list[PersonFrame]]) -> Iterator[str]:
    """The text of the document in pieces, one frame at a time: it may be far larger than memory should hold twice."""
    yield _json(head)[:-1] + ',"frames":['
    for index, people in enumerate(frames):
        entry = {"index": index, "people": [person_entry(p) for p in people]}
        yield ("," if index else "") + "\n" + _json(entry)
    yield "\n]}\n"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def write_document(folder: Path, pieces: Iterator[str]) -> None:
    """Writes pose.json under a temporary name and renames it when every byte is on the disk."""
    partial = folder / f".{FILE_NAME}.partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / FILE_NAME)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write {FILE_NAME} in {folder}: {error.strerror}") from None
