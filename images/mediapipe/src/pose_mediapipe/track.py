"""Who is who over time. Pure: boxes and numbers in, tracks out; no pictures, no models, no clock.

Each person is a box that moves at a constant velocity between frames. An observation may carry hints: the tracks from
whose predicted place it was made. Hints are a small bonus only. When two people cross, the squares of both often show the
one in front; the observation then goes to the track whose motion explains it, and the hidden one coasts on.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from statistics import median

from pose_mediapipe.assign import FORBIDDEN, match


LONG_GAP = 10  # frames; who is away for longer is hidden, who is missed now and then is doubtful


@dataclass(frozen=True)
class Box:
    """Centre and size in pixels."""

    cx: float
    cy: float
    w: float
    h: float


@dataclass(frozen=True)
class Observation:
    """A person seen in one frame.

    score: 0..1. hints: keys of the tracks it was looked for from; empty if the detector found it. supported: the detector
    saw this person in this very frame. look: numbers of 0..255 that tell people apart, empty if unknown. payload: anything
    the caller wants to find again in the track. motion: share of the body that moves against the background, 0..1; None if
    unknown.
    """

    box: Box
    score: float
    hints: frozenset[int] = frozenset()
    supported: bool = False
    look: tuple[float, ...] = ()
    payload: object = None
    motion: float | None = None


@dataclass(frozen=True)
class TrackerConfig:
    """max_gap: frames a person may stay unseen. birth_hits and birth_support: frames in which a track must have been seen,
    and seen by the detector, to count as a person; birth_window: frames within which the detector must have agreed, or a
    track that stands still ends (the landmark model alone can hold on to a post for minutes). gate...: how far from its
    expected place a person may be, in heights. size_ratio: largest change of height from one frame to the next;
    settled_ratio: the same for somebody who was seen in settled_sightings frames.
    look_scale: difference of looks that counts as another person; look_gain: how fast a track's look follows."""

    max_gap: int = 10
    birth_hits: int = 3
    birth_support: int = 2
    birth_window: int = 18
    gate: float = 0.35
    gate_growth: float = 0.06
    gate_limit: float = 0.9
    size_ratio: float = 1.6
    settled_ratio: float = 1.3
    settled_sightings: int = 5
    hint_bonus: float = 0.15
    look_weight: float = 0.5
    look_scale: float = 25.0
    look_gain: float = 0.1
    position_gain: float = 0.6
    velocity_gain: float = 0.2
    size_gain: float = 0.25
    velocity_decay: float = 0.97


@dataclass
class Sighting:
    """One frame of a track."""

    frame: int
    observation: Observation


@dataclass
class Track:
    """A person over time. box is the estimate for the frame of the last predict or update; vx, vy are pixels a frame."""

    key: int
    box: Box
    vx: float = 0.0
    vy: float = 0.0
    misses: int = 0
    support: int = 0
    look: tuple[float, ...] = ()
    sightings: list[Sighting] = field(default_factory=list)

    def confirmed(self, birth_hits: int, birth_support: int) -> bool:
        return len(self.sightings) >= birth_hits and self.support >= birth_support

    @property
    def has_moved(self) -> bool:
        """Whether the person is now more than half a height away from where they were first seen."""
        first = self.sightings[0].observation.box
        return math.hypot(self.box.cx - first.cx, self.box.cy - first.cy) > 0.5 * first.h

    @property
    def presence(self) -> float:
        """Share of the frames from first to last in which the person was seen, 0..1; of a long disappearance only the
        first frames count."""
        return len(self.sightings) / (1 + sum(min(b.frame - a.frame, LONG_GAP) for a, b in pairwise(self.sightings)))

    @property
    def mean_score(self) -> float:
        return sum(s.observation.score for s in self.sightings) / len(self.sightings)

    @property
    def motion(self) -> float | None:
        """Mean share of the body that moves against the background, 0..1; None if unknown throughout."""
        known = [s.observation.motion for s in self.sightings if s.observation.motion is not None]
        return sum(known) / len(known) if known else None

    @property
    def flicker(self) -> float:
        """Median relative change of the height from one sighting to the next; a false find changes shape all the time."""
        heights = [s.observation.box.h for s in self.sightings]
        return median(abs(math.log(b / a)) for a, b in pairwise(heights)) if len(heights) > 1 else 0.0

    def trimmed(self, run: int = 3, gap: int = 3) -> Track:
        """Without lone sightings at either end: fewer than run of them, then nothing for gap frames, are rarely the person."""
        kept = _drop_lone(self.sightings, run, gap)
        return replace(self, sightings=_drop_lone(kept[::-1], run, gap)[::-1])


def look_difference(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Mean difference of two looks; 0 if one is unknown."""
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a) if a and b else 0.0


def blend(old: tuple[float, ...], new: tuple[float, ...], gain: float) -> tuple[float, ...]:
    """The old look moved towards the new one."""
    return tuple(x + gain * (y - x) for x, y in zip(old, new, strict=True)) if old and new else old or new


def _drop_lone(sightings: list[Sighting], run: int, gap: int) -> list[Sighting]:
    for i, (a, b) in enumerate(pairwise(sightings[:run + 1])):
        if abs(b.frame - a.frame) > gap and i + 1 < run:
            return _drop_lone(sightings[i + 1:], run, gap)
    return sightings


class Tracker:
    """Call predict once a frame, look for people with its help, then call update with what was seen."""

    def __init__(self, config: TrackerConfig, width: float, height: float) -> None:
        self.config = config
        self._width, self._height = width, height
        self._next_key = 1
        self.live: list[Track] = []
        self.ended: list[Track] = []

    def predict(self) -> list[Track]:
        """Moves every live track to the next frame and returns them."""
        for track in self.live:
            track.box = Box(track.box.cx + track.vx, track.box.cy + track.vy, track.box.w, track.box.h)
        self._end([t for t in self.live if not self._in_frame(t.box)])
        return list(self.live)

    def update(self, frame: int, observations: list[Observation]) -> None:
        """Gives the observations of one frame to the tracks; what the detector found and nobody claims begins a track."""
        tracks = list(self.live)
        costs = [[self._cost(track, seen) for seen in observations] for track in tracks]
        pairs = match(costs, skip_cost=self.config.gate_limit)
        for t, o in pairs:
            self._see(tracks[t], frame, observations[o])
        self._miss([track for t, track in enumerate(tracks) if t not in {p[0] for p in pairs}])
        claimed = {p[1] for p in pairs}
        for o, seen in enumerate(observations):
            if o not in claimed and not seen.hints:
                self._begin(frame, seen)
        self._end([t for t in self.live if t.support < self.config.birth_support and not t.has_moved
                   and frame - t.sightings[0].frame > self.config.birth_window])

    def people_now(self) -> int:
        """Number of confirmed tracks that were seen in the last frame."""
        return sum(t.misses == 0 and t.confirmed(self.config.birth_hits, self.config.birth_support) for t in self.live)

    def all_tracks(self) -> list[Track]:
        """Every track so far, in the order of birth."""
        return sorted(self.live + self.ended, key=lambda t: t.key)

    def seen_in(self, frame: int) -> list[Observation]:
        """What any track saw in one of the latest frames."""
        def look_up(track: Track) -> list[Observation]:
            at = bisect_left(track.sightings, frame, key=lambda s: s.frame)
            return [s.observation for s in track.sightings[at:at + 1] if s.frame == frame]

        recent = takewhile(lambda t: t.sightings[-1].frame >= frame - 2 * self.config.max_gap, reversed(self.ended))
        return [o for track in (*self.live, *recent) for o in look_up(track)]

    def _cost(self, track: Track, seen: Observation) -> float:
        config = self.config
        height = max(track.box.h, 1.0)
        distance = math.hypot(seen.box.cx - track.box.cx, seen.box.cy - track.box.cy) / height
        resized = abs(math.log(max(seen.box.h, 1.0) / height))
        gate = min(config.gate + config.gate_growth * track.misses, config.gate_limit)
        if distance > gate or resized > self._size_gate(track):
            return FORBIDDEN
        look = min(look_difference(track.look, seen.look) / config.look_scale, 1.0)
        return distance + 0.3 * resized + config.look_weight * look - (config.hint_bonus if track.key in seen.hints else 0.0)

    def _size_gate(self, track: Track) -> float:
        """Largest believable change of size, as a logarithm. Somebody well known who is suddenly larger is two people in one."""
        config = self.config
        widest = math.log(config.size_ratio)
        if len(track.sightings) < config.settled_sightings:
            return widest
        return min(math.log(config.settled_ratio) * (1 + 0.15 * track.misses), widest)

    def _see(self, track: Track, frame: int, seen: Observation) -> None:
        config, box = self.config, seen.box
        dx, dy = box.cx - track.box.cx, box.cy - track.box.cy
        # A young track knows nothing of its velocity, and after a gap the error has built up over several frames.
        velocity_gain = max(config.velocity_gain, 1 / (len(track.sightings) + 1)) / (track.misses + 1)
        position_gain = max(config.position_gain, min(1.0, 0.5 + 0.25 * track.misses))
        track.vx = (track.vx + velocity_gain * dx) * config.velocity_decay
        track.vy = (track.vy + velocity_gain * dy) * config.velocity_decay
        track.box = Box(track.box.cx + position_gain * dx, track.box.cy + position_gain * dy,
                        track.box.w + config.size_gain * (box.w - track.box.w),
                        track.box.h + config.size_gain * (box.h - track.box.h))
        if not self._crowded(track):
            track.look = blend(track.look, seen.look, config.look_gain)
        track.misses = 0
        track.support += seen.supported
        track.sightings.append(Sighting(frame, seen))

    def _crowded(self, track: Track) -> bool:
        """Whether somebody else is so near that the look may be theirs."""
        return any(other is not track and abs(other.box.cx - track.box.cx) < 0.5 * (other.box.w + track.box.w)
                   and abs(other.box.cy - track.box.cy) < 0.5 * (other.box.h + track.box.h) for other in self.live)

    def _miss(self, tracks: list[Track]) -> None:
        for track in tracks:
            track.misses += 1
        self._end([t for t in tracks if t.misses > self.config.max_gap])

    def _begin(self, frame: int, seen: Observation) -> None:
        track = Track(self._next_key, seen.box, support=int(seen.supported), look=seen.look, sightings=[Sighting(frame, seen)])
        self._next_key += 1
        self.live.append(track)

    def _end(self, tracks: list[Track]) -> None:
        for track in tracks:
            self.live.remove(track)
            self.ended.append(track)

    def _in_frame(self, box: Box) -> bool:
        return 0 <= box.cx <= self._width and 0 <= box.cy <= self._height
