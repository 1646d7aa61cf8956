"""From frames to tracks: look where people are expected, look everywhere now and then, and let the tracker sort it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from pose_mediapipe.detect import Detection, Detector, Tile
from pose_mediapipe.geometry import Roi, iou, same_body, same_place
from pose_mediapipe.landmarks import LandmarkModel, Pose, Scene
from pose_mediapipe.looks import describe, paint_over, surroundings
from pose_mediapipe.track import Box, Observation, Track, Tracker, TrackerConfig

POSE_MINIMUM = 0.5  # the landmark model's own threshold for "there is a person"
BIRTH_MINIMUM = 0.7  # a new person needs a better one: the detector is asked for its doubtful finds too
BIRTH_ROUNDS = 6  # detections within which a second one must agree
TRACK_SCORE = 0.85  # clothes on the ground and the like stay below these two; people stay far above
TRACK_PRESENCE = 0.5
STEADY_FLICKER = 0.045  # a short or patchy track must keep its shape better than this
STEADY_PRESENCE = 0.7
STEADY_SECONDS = 1.5
TOO_CLOSE = 0.08  # of the square's side; nearer than this nobody can tell whose body it is
DETECT_SECONDS = 0.3  # a person who walks into the picture is found after this time at the latest
GAP_SECONDS = 1.2  # as long as one walker hides another


@dataclass(frozen=True)
class Schedule:
    """detect_every: frames from one detection to the next. max_gap: frames a person may stay hidden.
    steady_frames: sightings from which a track counts as long."""

    detect_every: int
    max_gap: int
    steady_frames: int

    @classmethod
    def for_rate(cls, fps: float) -> Schedule:
        return cls(min(max(round(fps * DETECT_SECONDS), 1), 10), min(max(round(fps * GAP_SECONDS), 4), 60),
                   round(fps * STEADY_SECONDS))


def observation(frame: np.ndarray, pose: Pose, hints: frozenset[int] = frozenset(), supported: bool = False) -> Observation:
    x, y, w, h = (float(v) for v in pose.box)
    return Observation(Box(x + w / 2, y + h / 2, w, h), pose.score, hints, supported, describe(frame, pose), pose)


def merge_same(observations: list[Observation]) -> list[Observation]:
    """Makes one observation of those that show the same body: the surest pose, with the hints of all."""
    kept: list[Observation] = []
    for seen in sorted(observations, key=lambda o: -o.score):
        twin = next((i for i, other in enumerate(kept) if _same_body(seen.payload, other.payload)), None)
        if twin is None:
            kept.append(seen)
        else:
            kept[twin] = replace(kept[twin], hints=kept[twin].hints | seen.hints,
                                 supported=kept[twin].supported or seen.supported)
    return kept


def _same_body(a: Pose, b: Pose) -> bool:
    overlap = iou(a.box, b.box)
    height = max(float(a.box[3]), float(b.box[3]))
    apart = float(np.hypot(*(a.points[[11, 12, 23, 24]].mean(axis=0) - b.points[[11, 12, 23, 24]].mean(axis=0))))
    return overlap > 0.7 or (overlap > 0.4 and apart < 0.12 * height)


def is_person(track: Track, steady_frames: int) -> bool:
    """Whether a finished track is good enough to report."""
    if track.mean_score < TRACK_SCORE or track.presence < TRACK_PRESENCE:
        return False
    doubtful = track.presence < STEADY_PRESENCE or len(track.sightings) < steady_frames
    return not doubtful or track.flicker <= STEADY_FLICKER


def expected_roi(track: Track) -> Roi:
    """Where to look for a person in this frame: the last pose's square, moved along with the track."""
    last = track.sightings[-1].observation
    return last.payload.roi.moved(track.box.cx - last.box.cx, track.box.cy - last.box.cy)


def expected_points(track: Track) -> np.ndarray:
    """Where a person's joints are expected in this frame, (33, 2) pixels."""
    last = track.sightings[-1].observation
    return last.payload.points + (track.box.cx - last.box.cx, track.box.cy - last.box.cy)


def scenes(tracks: list[Track], rois: list[Roi]) -> list[Scene]:
    """For each track, who else stands within its square. Only people just seen are hidden from others: where the rest are is a guess."""
    points = [expected_points(t) for t in tracks]

    def close(i: int, j: int) -> bool:
        apart = np.hypot(rois[i].cx - rois[j].cx, rois[i].cy - rois[j].cy)
        return i != j and tracks[j].misses == 0 and TOO_CLOSE * rois[i].side < apart < 0.6 * rois[i].side

    return [Scene(points[i], [points[j] for j in range(len(tracks)) if close(i, j)]) for i in range(len(tracks))]


class Analysis:
    """Tracks people over the frames given to it, one after the other."""

    def __init__(self, detector: Detector, landmarks: LandmarkModel, schedule: Schedule, width: int, height: int) -> None:
        self._detector = detector
        self._landmarks = landmarks
        self._schedule = schedule
        self.rounds = 0
        self.frames = 0
        config = TrackerConfig(max_gap=schedule.max_gap, birth_window=BIRTH_ROUNDS * schedule.detect_every)
        self.tracker = Tracker(config, width, height)

    def feed(self, frame: np.ndarray) -> None:
        """Takes the next frame, BGR."""
        expected = self.tracker.predict()
        seen = self._look_for(frame, expected)
        if self.frames % self._schedule.detect_every == 0:
            self.rounds += 1
            seen = self._look_everywhere(frame, seen)
        self.tracker.update(self.frames, merge_same(seen))
        self.frames += 1

    def people(self) -> list[Track]:
        """The tracks that count as people. A video too short for the usual evidence gives what evidence it can."""
        config = self.tracker.config
        hits, support = min(config.birth_hits, self.frames), min(config.birth_support, self.rounds)
        tracks = (t.trimmed() for t in self.tracker.all_tracks())
        return [t for t in tracks if t.confirmed(hits, support) and is_person(t, self._schedule.steady_frames)]

    def _look_for(self, frame: np.ndarray, tracks: list[Track]) -> list[Observation]:
        """Looks where known people are expected."""
        rois = [expected_roi(t) for t in tracks]
        poses = self._landmarks.estimate(frame, rois, scenes(tracks, rois))
        return [observation(frame, pose, frozenset([t.key])) for t, roi, pose in zip(tracks, rois, poses, strict=True)
                if pose.score >= POSE_MINIMUM and same_body(roi, pose.roi)]

    def _look_everywhere(self, frame: np.ndarray, seen: list[Observation]) -> list[Observation]:
        """Adds the people whom the detector finds, then those it finds beside them once they are painted over."""
        detections = self._detector.detect(frame)
        seen = [replace(o, supported=any(same_place(o.payload.roi, d.roi) for d in detections)) for o in seen]
        seen = merge_same(seen + self._verify(frame, frame, detections, seen))
        if seen:
            painted = paint_over(frame, [o.payload for o in seen])
            tiles = [Tile(*surroundings(o.payload.roi)) for o in seen]
            seen = seen + self._verify(frame, painted, self._detector.detect(painted, tiles), seen)
        return seen

    def _verify(self, frame: np.ndarray, view: np.ndarray, detections: list[Detection],
                seen: list[Observation]) -> list[Observation]:
        """Observations of those detections that are new and in which the landmark model sees the same body."""
        fresh = [d for d in detections if not any(same_place(o.payload.roi, d.roi) for o in seen)]
        poses = self._landmarks.estimate(view, [d.roi for d in fresh])
        return [observation(frame, pose, supported=True) for d, pose in zip(fresh, poses, strict=True)
                if pose.score >= BIRTH_MINIMUM and same_body(d.roi, pose.roi)]


def analyse(frames: Iterable[np.ndarray], analysis: Analysis, progress: Callable[[int, int], None]) -> None:
    """Feeds every frame; progress gets the number of frames done and of people in sight."""
    for frame in frames:
        analysis.feed(frame)
        progress(analysis.frames, analysis.tracker.people_now())
