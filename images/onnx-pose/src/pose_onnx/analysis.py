"""From frames to tracks: find people, follow them, and place the joints of those who are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from pose_onnx.people import Found
from pose_onnx.track import Tracker, TrackerConfig

GAP_SECONDS = 1.0  # as long as one walker hides another
BIRTH_HITS = 3


@dataclass
class Track:
    """One person's sightings, in the order of frames. boxes [x, y, w, h] and points (joints, 3) in frame pixels, float32."""

    key: int
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)

    @property
    def total_height(self) -> float:
        """Sum of the box heights of all sightings, pixels: who is near and long in sight has most."""
        return float(sum(box[3] for box in self.boxes))


class Analysis:
    """Takes one frame after the other."""

    def __init__(self, finder, fps: float) -> None:
        """finder: detect(frame) -> Found, estimate(frame, boxes) -> points where Found has none."""
        self._finder = finder
        gap = min(max(round(fps * GAP_SECONDS), 4), 60)
        self._tracker = Tracker(TrackerConfig(max_gap=gap, birth_hits=BIRTH_HITS))
        self._tracks: dict[int, Track] = {}
        # Boxes of finds that belong to no track, by frame: not reported, but their heads are hidden in a blurred overlay.
        self.strays: list[np.ndarray] = []
        self.frames = 0
        self.people_now = 0

    def feed(self, frame: np.ndarray) -> None:
        """Takes the next frame, BGR."""
        found = self._finder.detect(frame)
        pairs = self._pairs(found)
        rows = [row for _, row in pairs]
        points = found.points[rows] if found.points is not None else self._finder.estimate(frame, found.boxes[rows])
        for (key, row), joints in zip(pairs, points, strict=True):
            track = self._tracks.setdefault(key, Track(key))
            track.frames.append(self.frames)
            track.boxes.append(found.boxes[row].astype(np.float32))
            track.scores.append(float(found.scores[row]))
            track.points.append(np.nan_to_num(joints).astype(np.float32))
        self.strays.append(np.delete(found.boxes, rows, axis=0).astype(np.float32))
        self.frames += 1
        self.people_now = len(pairs)

    def _pairs(self, found: Found) -> list[tuple[int, int]]:
        if found.ids is not None:
            return [(int(key), row) for row, key in enumerate(found.ids)]
        scores = np.ones(len(found)) if found.given else found.scores
        return self._tracker.update(found.boxes, scores)

    def tracks(self) -> list[Track]:
        """Every track so far, by its number."""
        return [self._tracks[key] for key in sorted(self._tracks)]


@dataclass(frozen=True)
class Selection:
    """Whom the result reports. filtered: number of tracks that were too short to be believed; not_selected: of people left
    out because fewer were asked for."""

    people: list[Track]
    filtered: int
    not_selected: int


def select(tracks: list[Track], frames: int, max_people: int, given: bool) -> Selection:
    """Believes tracks of three sightings or more (fewer in a shorter video; all whose ids the user gave), and keeps the
    max_people of them with the greatest total height; 0 keeps all."""
    least = 1 if given else min(BIRTH_HITS, frames)
    people = [t for t in tracks if len(t.frames) >= least]
    kept = sorted(people, key=lambda t: (-t.total_height, t.key))[:max_people] if max_people else people
    return Selection(sorted(kept, key=lambda t: (t.frames[0], t.key)), len(tracks) - len(people), len(people) - len(kept))


def analyse(frames: Iterable[np.ndarray], analysis: Analysis, progress: Callable[[int, int], None]) -> None:
    """Feeds every frame; progress gets the number of frames done and of people in sight."""
    for frame in frames:
        analysis.feed(frame)
        progress(analysis.frames, analysis.people_now)
