"""From frames to tracks: look where people are expected, look everywhere now and then, and let the tracker sort it out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pose_mediapipe.detect import Detection, Detector, Tile
from pose_mediapipe.geometry import Roi, iou, same_body, same_place
from pose_mediapipe.landmarks import LandmarkModel, Pose, Scene
from pose_mediapipe.link import link
from pose_mediapipe.looks import describe, paint_over, surroundings
from pose_mediapipe.motion import Motion
from pose_mediapipe.track import Box, Observation, Sighting, Track, Tracker, TrackerConfig

POSE_MINIMUM = 0.5  # the landmark model's own threshold for "there is a person"
BIRTH_MINIMUM = 0.7  # a new person needs a better one: the detector is asked for its doubtful finds too
BIRTH_ROUNDS = 6  # detections within which a second one must agree
TRACK_SCORE = 0.85  # clothes on the ground and the like stay below these two; people stay far above
TRACK_PRESENCE = 0.5
STEADY_FLICKER = 0.045  # a short or patchy track must keep its shape better than this
STEADY_PRESENCE = 0.7
STEADY_SECONDS = 1.5
TOO_CLOSE = 0.08  # of the square's side; nearer than this nobody can tell whose body it is
SPOT_ROOM, SPOT_LEAST = 2.0, 48  # a tile around a moving spot: so many times its height, at least so many pixels
THOROUGH_ROUNDS = 5  # of so many detections one searches the whole frame; the others only what is new, while the camera is still
LOST = 3  # frames
TRACE_SIGHTINGS = 4  # a new person's velocity is known after so many
RECENT_SECONDS, MOST_RECENT, RECENT_BYTES = 1.5, 24, 96 << 20
DETECT_SECONDS = 0.3  # a person who walks into the picture is found after this time at the latest
GAP_SECONDS = 2.0  # as long as one walker or a sign hides another
FILLS = 0.45  # a body is at least this large in its square; a smaller one is a pose that collapsed onto a spot
STATIC_MOTION = 0.1  # a track whose body moves less than this against the background is a person who stands, or a thing;
STATIC_SUPPORT = 0.4  # a person is confirmed in more than this share of the thorough detections
MOVING = 0.3  # a body that moves this much is surely somebody or something; it may be hidden half of the time
MOVING_PRESENCE = 0.35


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


def fills_its_square(pose: Pose) -> bool:
    """Whether the body is as large as its own square says; a pose that collapsed onto a spot is not."""
    return float(max(pose.box[2:])) >= FILLS * pose.roi.side


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


def is_person(track: Track, schedule: Schedule) -> bool:
    """Whether a finished track is good enough to report."""
    motion = track.motion
    moving = motion is not None and motion >= MOVING
    if track.mean_score < TRACK_SCORE or track.presence < (MOVING_PRESENCE if moving else TRACK_PRESENCE):
        return False
    static = motion is not None and motion < STATIC_MOTION and not track.has_moved
    searched = len(track.sightings) / (schedule.detect_every * THOROUGH_ROUNDS)
    if static and track.support - TrackerConfig.birth_support < STATIC_SUPPORT * searched:
        return False
    doubtful = track.presence < STEADY_PRESENCE or len(track.sightings) < schedule.steady_frames
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
    """For each track, who else stands within its square. Only people just seen are hidden from others: where the rest are
    is a guess."""
    points = [expected_points(t) for t in tracks]

    def close(i: int, j: int) -> bool:
        apart = np.hypot(rois[i].cx - rois[j].cx, rois[i].cy - rois[j].cy)
        return i != j and tracks[j].misses == 0 and TOO_CLOSE * rois[i].side < apart < 0.6 * rois[i].side

    return [Scene(points[i], [points[j] for j in range(len(tracks)) if close(i, j)]) for i in range(len(tracks))]


def spot_tile(x: float, y: float, w: float, h: float) -> Tile:
    """A tile around something that moves in the box [x, y, w, h], with room for the body that it may be a part of."""
    side = max(round(SPOT_ROOM * max(w, h)), SPOT_LEAST)
    return Tile(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def recent_frames(fps: float, width: int, height: int) -> int:
    """How many past frames are kept for tracing new people back."""
    by_memory = RECENT_BYTES // (3 * width * height)
    return max(1, min(round(fps * RECENT_SECONDS), MOST_RECENT, by_memory))


class Analysis:
    """Tracks people over the frames given to it, one after the other. fps: frames in a second of the world."""

    keeps_ids = False

    def __init__(self, detector: Detector, landmarks: LandmarkModel, schedule: Schedule, width: int, height: int,
                 fps: float) -> None:
        self._detector = detector
        self._landmarks = landmarks
        self._schedule = schedule
        self.rounds = 0
        self.frames = 0
        config = TrackerConfig(max_gap=schedule.max_gap, birth_window=BIRTH_ROUNDS * schedule.detect_every)
        self.tracker = Tracker(config, width, height)
        self._motion = Motion(width, height, fps)
        self._recent: deque[np.ndarray] = deque(maxlen=recent_frames(fps, width, height))
        self._traced: set[int] = set()
        self._fps = fps
        self._frame_size = (width, height)
        self.longest_gap = schedule.max_gap
        self.filtered = 0

    def feed(self, frame: np.ndarray) -> None:
        """Takes the next frame, BGR."""
        self._motion.feed(frame)
        expected = self.tracker.predict()
        seen = self._look_for(frame, expected)
        if self.frames % self._schedule.detect_every == 0:
            thorough = not self._motion.known or self.rounds % THOROUGH_ROUNDS == 0
            self.rounds += 1
            seen = self._look_everywhere(frame, seen) if thorough else self._look_at_news(frame, seen)
        self.tracker.update(self.frames, merge_same(seen))
        self._trace_back()
        self._recent.append(frame)
        self.frames += 1

    def people(self) -> list[Track]:
        """The tracks that count as people. A video too short for the usual evidence gives what evidence it can."""
        config, schedule = self.tracker.config, self._schedule
        hits, support = min(config.birth_hits, self.frames), min(config.birth_support, self.rounds)
        linked = link(self.tracker.all_tracks(), self._fps, *self._frame_size)
        confirmed = [t for t in (t.trimmed() for t in linked) if t.confirmed(hits, support)]
        people = [t for t in confirmed if is_person(t, schedule)]
        self.filtered = len(confirmed) - len(people)
        return people

    def people_now(self) -> int:
        """Number of people seen in the last frame who were seen often enough to count."""
        return self.tracker.people_now()

    def noticed(self) -> list[Track]:
        """Everybody, the doubtful ones too."""
        return self.tracker.all_tracks()

    def _look_for(self, frame: np.ndarray, tracks: list[Track]) -> list[Observation]:
        """Looks where known people are expected; for those out of sight for long, in every other frame."""
        tracks = [t for t in tracks if t.misses <= LOST or (self.frames + t.key) % 2]
        rois = [expected_roi(t) for t in tracks]
        poses = self._landmarks.estimate(frame, rois, scenes(tracks, rois))
        return [self._observe(frame, pose, frozenset([t.key])) for t, roi, pose in zip(tracks, rois, poses, strict=True)
                if pose.score >= POSE_MINIMUM and same_body(roi, pose.roi) and fills_its_square(pose)]

    def _observe(self, frame: np.ndarray, pose: Pose, hints: frozenset[int] = frozenset(),
                 supported: bool = False) -> Observation:
        x, y, w, h = (float(v) for v in pose.box)
        return Observation(Box(x + w / 2, y + h / 2, w, h), pose.score, hints, supported, describe(frame, pose), pose,
                           self._motion.share(pose.points))

    def _look_everywhere(self, frame: np.ndarray, seen: list[Observation]) -> list[Observation]:
        """Adds the people whom the detector finds, then those it finds beside them once they are painted over."""
        detections = self._detector.detect(frame)
        seen = [replace(o, supported=any(same_place(o.payload.roi, d.roi) for d in detections)) for o in seen]
        seen = merge_same(seen + self._verify(frame, frame, detections, seen))
        return self._look_beside(frame, seen, [Tile(*surroundings(o.payload.roi)) for o in seen])

    def _look_at_news(self, frame: np.ndarray, seen: list[Observation]) -> list[Observation]:
        """Asks the detector about those whom it has not confirmed yet, and where something moves that is nobody known."""
        young = {t.key for t in self.tracker.live if t.support < self.tracker.config.birth_support}
        tiles = [Tile(*surroundings(o.payload.roi)) for o in seen if o.hints & young]
        detections = self._detector.detect_in(frame, tiles)
        seen = [replace(o, supported=any(same_place(o.payload.roi, d.roi) for d in detections)) for o in seen]
        return self._look_beside(frame, merge_same(seen + self._verify(frame, frame, detections, seen)), [])

    def _look_beside(self, frame: np.ndarray, seen: list[Observation], tiles: list[Tile]) -> list[Observation]:
        """Paints over the people seen, and adds those whom the detector then finds in the tiles and where something moves:
        beside others, far away, half hidden, or just entering."""
        tiles = tiles + [spot_tile(*spot) for spot in self._motion.unexplained([o.payload.box for o in seen])]
        if not tiles:
            return seen
        painted = paint_over(frame, [o.payload for o in seen])
        return seen + self._verify(frame, painted, self._detector.detect_in(painted, tiles), seen)

    def _trace_back(self) -> None:
        """Follows each new person back to when they were there already but not found yet: at the rim, far away, half hidden."""
        for track in self.tracker.live:
            known = len(track.sightings) >= TRACE_SIGHTINGS and track.support >= self.tracker.config.birth_support
            if track.key in self._traced or not known:
                continue
            self._traced.add(track.key)
            first, later = track.sightings[0], track.sightings[TRACE_SIGHTINGS - 1]
            frames = later.frame - first.frame
            dx = (later.observation.box.cx - first.observation.box.cx) / frames
            dy = (later.observation.box.cy - first.observation.box.cy) / frames
            for back in range(1, len(self._recent) + 1):
                index = first.frame - back
                place = self.frames - index  # 1 is the newest of the frames that are kept
                earlier = self._earlier(track, index, place, dx, dy) if 1 <= place <= len(self._recent) else None
                if earlier is None:
                    break
                track.sightings.insert(0, Sighting(index, earlier))

    def _earlier(self, track: Track, index: int, place: int, dx: float, dy: float) -> Observation | None:
        """The track's person in an earlier frame, or None."""
        frame = self._recent[-place]
        last = track.sightings[0].observation
        roi = last.payload.roi.moved(-dx, -dy)
        (pose,) = self._landmarks.estimate(frame, [roi])
        if pose.score < BIRTH_MINIMUM or not same_body(roi, pose.roi) or not fills_its_square(pose):
            return None
        here = self._observe(frame, pose, frozenset([track.key]))
        if abs(math.log(here.box.h / last.box.h)) > math.log(self.tracker.config.settled_ratio):
            return None
        taken = any(_same_body(pose, o.payload) for o in self.tracker.seen_in(index) if o is not last)
        return None if taken else replace(here, motion=None)

    def _verify(self, frame: np.ndarray, view: np.ndarray, detections: list[Detection],
                seen: list[Observation]) -> list[Observation]:
        """Observations of those detections that are new and in which the landmark model sees the same body."""
        fresh = [d for d in detections if not any(same_place(o.payload.roi, d.roi) for o in seen)]
        poses = self._landmarks.estimate(view, [d.roi for d in fresh])
        return [self._observe(frame, pose, supported=True) for d, pose in zip(fresh, poses, strict=True)
                if pose.score >= BIRTH_MINIMUM and same_body(d.roi, pose.roi) and fills_its_square(pose)]


class Feeding(Protocol):
    """What takes a video's frames: Analysis, or GivenAnalysis."""

    frames: int

    def feed(self, frame: np.ndarray) -> None: ...

    def people_now(self) -> int: ...


def analyse(frames: Iterable[np.ndarray], analysis: Feeding, progress: Callable[[int, int], None]) -> None:
    """Feeds every frame; progress gets the number of frames done and of people in sight."""
    for frame in frames:
        analysis.feed(frame)
        progress(analysis.frames, analysis.people_now())
