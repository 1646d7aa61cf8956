"""The pose.json document (docs/pose-json.md): tracks to numbers, numbers to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pose_mediapipe import ENGINE_NAME, __version__, skeleton
from pose_mediapipe.errors import EngineError, Failure
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.quality import Seen, switches_suspected
from pose_mediapipe.track import Track

API_VERSION = "pose.dev/v1alpha1"
FILE_NAME = "pose.json"
WORLD_LIMIT = 10.0  # metres, rule R11
MIN_BOX = 0.1  # pixels; the smallest size that survives rounding


@dataclass(frozen=True)
class PersonFrame:
    """One person in one frame. points (33, 2) pixels, visibility (33,), world (33, 3) metres, box [x, y, w, h] pixels."""

    id: int
    box: np.ndarray
    score: float
    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    observed: bool


@dataclass(frozen=True)
class Video:
    """The video facts of the document. fps frames a second; sizes in pixels after rotation. capture_fps: frames that the
    camera took in a second, where the file plays at another rate; 0: as fps. focal_length: in pixels, 0 if unknown."""

    width: int
    height: int
    fps: float
    frames: int
    start_frame: int
    capture_fps: float = 0.0
    focal_length: float = 0.0


class People:
    """The tracks that count as people, numbered from 1 in the order in which they appear, with their gaps filled.

    keep_keys: a track's key is the person's number. fill: longest gap, in frames, that is filled; None: any.
    """

    def __init__(self, tracks: list[Track], width: int, height: int, keep_keys: bool = False, fill: int | None = None) -> None:
        order = (lambda t: t.key) if keep_keys else (lambda t: (t.sightings[0].frame, t.key))
        self._tracks = sorted((t for t in tracks if t.sightings), key=order)
        self._numbers = [t.key for t in self._tracks] if keep_keys else list(range(1, len(self._tracks) + 1))
        self._size = (width, height)
        self._fill = fill

    def __len__(self) -> int:
        return len(self._tracks)

    def summary(self) -> list[dict]:
        """The document's people[]."""
        return [{"id": number, "firstFrame": t.sightings[0].frame, "lastFrame": t.sightings[-1].frame,
                 "framesSeen": len(t.sightings)} for number, t in zip(self._numbers, self._tracks, strict=True)]

    def coverage(self, count: int) -> float:
        """Share of count frames in which somebody was observed, 0..1."""
        return len({s.frame for t in self._tracks for s in t.sightings}) / count if count else 0.0

    def gaps(self) -> int:
        """Runs of frames inside tracks in which the person was not observed."""
        return sum(b.frame - a.frame > 1 for t in self._tracks for a, b in pairwise(t.sightings))

    def seen(self) -> list[Seen]:
        """Where each person was observed."""
        return [Seen(np.array([s.frame for s in t.sightings]),
                     np.array([fit_box(s.observation.payload.box, *self._size) for s in t.sightings])) for t in self._tracks]

    def frames(self, count: int) -> Iterator[list[PersonFrame]]:
        """The people of frames 0..count-1, ids ascending."""
        cursors = [0] * len(self._tracks)
        for frame in range(count):
            present = []
            for i, track in enumerate(self._tracks):
                sightings = track.sightings
                while cursors[i] + 1 < len(sightings) and sightings[cursors[i] + 1].frame <= frame:
                    cursors[i] += 1
                if sightings[0].frame <= frame <= sightings[-1].frame and self._is_filled(sightings, cursors[i], frame):
                    present.append(self._person(self._numbers[i], sightings, cursors[i], frame))
            yield present

    def _is_filled(self, sightings: list, at: int, frame: int) -> bool:
        return (self._fill is None or sightings[at].frame == frame
                or sightings[at + 1].frame - sightings[at].frame <= self._fill + 1)

    def _person(self, number: int, sightings: list, at: int, frame: int) -> PersonFrame:
        before = sightings[at]
        pose: Pose = before.observation.payload
        if before.frame == frame:
            return self._fit(number, pose.box, pose.score, pose.points, pose.visibility, pose.world, True)
        after = sightings[at + 1]
        later: Pose = after.observation.payload
        share = (frame - before.frame) / (after.frame - before.frame)
        mix = lambda a, b: (1 - share) * a + share * b  # noqa: E731 - a name for one formula
        return self._fit(number, mix(pose.box, later.box), mix(pose.score, later.score), mix(pose.points, later.points),
                         np.zeros_like(pose.visibility), mix(pose.world, later.world), False)

    def _fit(self, number, box, score, points, visibility, world, observed) -> PersonFrame:
        """Brings numbers into the document's limits; a model's wild guess must not spoil a whole result."""
        size = np.array(self._size, np.float64)
        points = np.clip(np.nan_to_num(points), -2 * size, 3 * size)
        world = np.clip(np.nan_to_num(world), -WORLD_LIMIT, WORLD_LIMIT)
        return PersonFrame(number, fit_box(box, *self._size), float(np.clip(score, 0, 1)), points,
                           np.clip(np.nan_to_num(visibility), 0, 1), world, observed)


def fit_box(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """The box moved and shrunk by as little as makes it touch the frame (rule R9) and keeps its size positive."""
    x, y, w, h = (float(v) for v in np.nan_to_num(box))
    w, h = min(max(w, 1.0), 3.0 * width), min(max(h, 1.0), 3.0 * height)
    x = min(max(x, 0.5 - w), width - 0.5)
    y = min(max(y, 0.5 - h), height - 0.5)
    return np.array([x, y, w, h])


@dataclass(frozen=True)
class LeftOut:
    """How many were found and not reported: tracks that were too short or doubtful for a person, and people who were not
    asked for."""

    filtered: int = 0
    not_selected: int = 0


def select(tracks: list[Track], most: int) -> list[Track]:
    """The people seen largest and longest: those with the greatest sum of box heights over their sightings; 0: all."""
    if most == 0 or len(tracks) <= most:
        return tracks
    weight = {id(t): sum(float(s.observation.payload.box[3]) for s in t.sightings) for t in tracks}
    return sorted(tracks, key=lambda t: (-weight[id(t)], t.key))[:most]


def camera(video: Video) -> dict:
    """The document's camera for a focal length that somebody gave."""
    return {"model": "pinhole", "focalLengthPx": round(video.focal_length, 3), "focalLengthOrigin": "Given",
            "principalPoint": [video.width / 2, video.height / 2],
            "caveats": ["The engine does not use the camera: its 3D joints describe the pose, not where the person stands."]}


def header(video: Video, models: list[tuple[str, str]], people: People, left_out: LeftOut = LeftOut()) -> dict:
    """Everything before frames[]; models are (file name, sha256)."""
    head = {
        "apiVersion": API_VERSION,
        "kind": "PoseResult",
        "video": {"width": video.width, "height": video.height, "fps": round(video.fps, 6), "frames": video.frames,
                  "startFrame": video.start_frame, "durationSeconds": round(video.frames / video.fps, 3)},
        "engine": {"name": ENGINE_NAME, "version": __version__, "device": "CPU",
                   "models": [{"name": name, "sha256": digest} for name, digest in models]},
        "skeleton": {"name": skeleton.NAME, "joints": list(skeleton.JOINTS), "edges": [list(e) for e in skeleton.EDGES]},
        "units": {"bbox": "pixels", "joints2d": "pixels", "joints3d": "metres"},
        "coordinates": {"image": "x-right-y-down", "joints3d": "x-right-y-down-z-forward", "joints3dOrigin": "hip-centre"},
        "quality": {"coverage": round(people.coverage(video.frames), 6), "gaps": people.gaps(),
                    "idSwitchesSuspected": switches_suspected(people.seen(), video.fps),
                    "peopleFiltered": left_out.filtered, "peopleNotSelected": left_out.not_selected},
        "people": people.summary(),
    }
    if video.capture_fps > 0:
        head["video"]["captureFPS"] = round(video.capture_fps, 6)
    if video.focal_length > 0:
        head["camera"] = camera(video)
    return head


def person_entry(person: PersonFrame) -> dict:
    """One element of frames[].people[], rounded as the format says."""
    pixels = np.round(person.points.astype(np.float64), 1)
    visibility = np.round(person.visibility.astype(np.float64), 2)
    entry = {"id": person.id, "bbox": np.round(person.box, 1).tolist(), "score": round(person.score, 3)}
    if not person.observed:
        entry["observed"] = False
    entry["joints2d"] = np.column_stack([pixels, visibility]).tolist()
    entry["joints3d"] = np.round(person.world.astype(np.float64), 3).tolist()
    return entry


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
