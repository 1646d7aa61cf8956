"""Who is who, once whole tracks are known. Pure: tracks in, tracks out.

The tracker decides frame by frame. Afterwards more is known: what two people looked like before they met and after they
parted, and who came back after which disappearance. Two mistakes are mended: people who exchanged their tracks when they
crossed, and people who went on under a new one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from pose_mediapipe.assign import FORBIDDEN, match
from pose_mediapipe.track import Sighting, Track, look_difference

NEAR = 0.45  # of the larger height; closer than this two people hide each other
WINDOW_SECONDS = 1.5  # before a meeting and after it, in which looks are gathered
LEAST_SIGHTINGS = 3  # for a look to be trusted
SWAP_MARGIN = 8.0  # by so much must looks fit better after an exchange; people in like clothes differ by less
SIZE_WEIGHT = 40.0  # a difference of looks that weighs as much as a size e times as large
JOIN_SECONDS = 4.0  # longest disappearance
JOIN_REACH, JOIN_SPEED = 0.5, 0.5  # heights, and heights a second: how far from the expected place somebody comes back
JOIN_LOOK = 15.0  # largest difference of looks of one person
STRIDE_SECONDS = 0.5  # velocities are measured over this time; nobody walks straight on for much longer


def link(tracks: list[Track], fps: float, width: float, height: float) -> list[Track]:
    """Mends the tracks of a whole video. fps: frames in a second of the world; width and height of the frame in pixels."""
    known = [t.trimmed() for t in tracks if t.sightings]
    untangle(known, fps)
    return join([t for t in known if t.sightings], fps, width, height)


# --- meetings -------------------------------------------------------------------------------------------------------


def untangle(tracks: list[Track], fps: float) -> None:
    """Gives exchanged people their tracks back, in place, meeting by meeting."""
    paths = [_path(t) for t in tracks]
    meetings = sorted((start, end, i, j) for i, j in _together(tracks) for start, end in _meetings(paths[i], paths[j], fps))
    for start, end, i, j in meetings:
        gain = _gain(tracks[i], tracks[j], start, end, fps)
        if gain is not None and gain > SWAP_MARGIN:
            _exchange(tracks[i], tracks[j], (start + end) // 2)


def _together(tracks: list[Track]) -> list[tuple[int, int]]:
    """Pairs of tracks that have frames in common."""
    order = sorted(range(len(tracks)), key=lambda i: (tracks[i].sightings[0].frame, i))
    pairs: list[tuple[int, int]] = []
    present: list[int] = []
    for i in order:
        present = [j for j in present if tracks[j].sightings[-1].frame >= tracks[i].sightings[0].frame]
        pairs += [(max(i, j), min(i, j)) for j in present]
        present.append(i)
    return pairs


@dataclass(frozen=True)
class _Path:
    """Where a person is in every frame from the first to the last sighting, on straight lines across gaps: centre and
    height in pixels, each of shape (frames,)."""

    first: int
    x: np.ndarray
    y: np.ndarray
    h: np.ndarray


def _path(track: Track) -> _Path:
    seen = [s.frame for s in track.sightings]
    frames = np.arange(seen[0], seen[-1] + 1)
    x, y, h = (np.interp(frames, seen, [getattr(s.observation.box, name) for s in track.sightings]).astype(np.float32)
               for name in ("cx", "cy", "h"))
    return _Path(seen[0], x, y, h)


def _meetings(a: _Path, b: _Path, fps: float) -> list[tuple[int, int]]:
    """Stretches of frames, first and last, in which the two are so near that one may hide the other."""
    first, end = max(a.first, b.first), min(a.first + len(a.x), b.first + len(b.x))
    p, q = slice(first - a.first, end - a.first), slice(first - b.first, end - b.first)
    apart = np.hypot(a.x[p] - b.x[q], a.y[p] - b.y[q])
    found: list[tuple[int, int]] = []
    for frame in (np.flatnonzero(apart < NEAR * np.maximum(a.h[p], b.h[q])) + first).tolist():
        if found and frame - found[-1][1] <= fps * STRIDE_SECONDS:
            found[-1] = (found[-1][0], frame)
        else:
            found.append((frame, frame))
    return found


def _gain(a: Track, b: Track, start: int, end: int, fps: float) -> float | None:
    """By how much looks and sizes fit better if the two exchange their futures; None if too little was seen."""
    window = round(fps * WINDOW_SECONDS)
    old = [_between(t, start - window, start - 1) for t in (a, b)]
    new = [_between(t, end + 1, end + window) for t in (a, b)]
    if any(len(s) < LEAST_SIGHTINGS for s in (*old, *new)):
        return None
    kept = _unlike(old[0], new[0]) + _unlike(old[1], new[1])
    return kept - _unlike(old[0], new[1]) - _unlike(old[1], new[0])


def _between(track: Track, first: int, last: int) -> list[Sighting]:
    low = bisect_left(track.sightings, first, key=lambda s: s.frame)
    return track.sightings[low:bisect_right(track.sightings, last, key=lambda s: s.frame)]


def _unlike(a: list[Sighting], b: list[Sighting]) -> float:
    """How different the people of two stretches are, on the scale of look_difference."""
    sizes = [sum(math.log(max(s.observation.box.h, 1.0)) for s in part) / len(part) for part in (a, b)]
    return look_difference(mean_look(a), mean_look(b)) + SIZE_WEIGHT * abs(sizes[0] - sizes[1])


def mean_look(sightings: list[Sighting]) -> tuple[float, ...]:
    """The mean of the looks that are known; empty if none is."""
    looks = [s.observation.look for s in sightings if s.observation.look]
    return tuple(sum(values) / len(looks) for values in zip(*looks, strict=True)) if looks else ()


def _exchange(a: Track, b: Track, frame: int) -> None:
    """From the frame on, each track gets the sightings of the other."""
    cut = [bisect_left(t.sightings, frame, key=lambda s: s.frame) for t in (a, b)]
    a.sightings, b.sightings = (a.sightings[:cut[0]] + b.sightings[cut[1]:], b.sightings[:cut[1]] + a.sightings[cut[0]:])
    for track in (a, b):
        track.support = sum(s.observation.supported for s in track.sightings)


# --- disappearances -------------------------------------------------------------------------------------------------


def join(tracks: list[Track], fps: float, width: float, height: float) -> list[Track]:
    """Makes one track of those that show the same person before and after a disappearance."""
    following = _followers(tracks, fps, width, height)
    begun = set(following.values())
    joined = []
    for first in (i for i in range(len(tracks)) if i not in begun):
        track, at = tracks[first], first
        while at in following:
            at = following[at]
            track = replace(track, box=tracks[at].box, support=track.support + tracks[at].support,
                            sightings=track.sightings + tracks[at].sightings)
        joined.append(track)
    return joined


def _followers(tracks: list[Track], fps: float, width: float, height: float) -> dict[int, int]:
    """Index of a track -> index of the one that continues it."""
    starts = sorted((t.sightings[0].frame, i) for i, t in enumerate(tracks))
    costs: dict[int, dict[int, float]] = {}
    for i, track in enumerate(tracks):
        end = track.sightings[-1].frame
        low, high = (bisect_right(starts, (frame, len(tracks))) for frame in (end, end + int(JOIN_SECONDS * fps)))
        possible = {j: _join_cost(track, tracks[j], fps, width, height) for _, j in starts[low:high]}
        if possible := {j: cost for j, cost in possible.items() if cost <= 1}:
            costs[i] = possible
    following: dict[int, int] = {}
    for rows in _groups(costs):  # a long video has thousands of tracks, but few compete with each other
        columns = sorted({j for i in rows for j in costs[i]})
        table = [[costs[i].get(j, FORBIDDEN) for j in columns] for i in rows]
        following.update((rows[r], columns[c]) for r, c in match(table, skip_cost=1.0))
    return following


def _groups(costs: dict[int, dict[int, float]]) -> list[list[int]]:
    """The rows in groups that have no column in common."""
    groups: list[tuple[list[int], set[int]]] = []
    for i, columns in costs.items():
        touched = [g for g in groups if g[1] & columns.keys()]
        groups = [g for g in groups if not g[1] & columns.keys()]
        rows = sorted([i, *(row for g in touched for row in g[0])])
        groups.append((rows, set(columns).union(*(g[1] for g in touched))))
    return [rows for rows, _ in groups]


def _join_cost(a: Track, b: Track, fps: float, width: float, height: float) -> float:
    """0 for a sure continuation of a by b, above 1 for none."""
    end, begin = a.sightings[-1], b.sightings[0]
    seconds = (begin.frame - end.frame) / fps
    if not 0 < seconds <= JOIN_SECONDS or min(len(a.sightings), len(b.sightings)) < LEAST_SIGHTINGS:
        return FORBIDDEN
    vx, vy = _velocity(a, fps)
    ahead = min(seconds, 2 * STRIDE_SECONDS)
    box, other = end.observation.box, begin.observation.box
    dx, dy = vx * ahead, vy * ahead
    if not (0 <= box.cx + dx <= width and 0 <= box.cy + dy <= height):
        return FORBIDDEN  # walked out of the picture
    # Out of sight, somebody may also have stopped: what counts is the distance from the way ahead.
    share = ((other.cx - box.cx) * dx + (other.cy - box.cy) * dy) / max(dx * dx + dy * dy, 1e-9)
    share = min(max(share, 0.0), 1.0)
    x, y = box.cx + share * dx, box.cy + share * dy
    few = max(round(fps), LEAST_SIGHTINGS)
    tail, head = a.sightings[-few:], b.sightings[:few]
    tall = max(median(s.observation.box.h for s in part) for part in (tail, head))  # who is about to be hidden seems to shrink
    apart = math.hypot(other.cx - x, other.cy - y) / tall / (JOIN_REACH + JOIN_SPEED * seconds)
    unlike = _unlike(tail, head) / JOIN_LOOK
    return FORBIDDEN if apart > 1 or unlike > 1 else 0.5 * (apart + unlike)


def _velocity(track: Track, fps: float) -> tuple[float, float]:
    """Pixels a second over the last moments of a track, forwards."""
    tail = _between(track, track.sightings[-1].frame - max(round(fps * STRIDE_SECONDS), 2), track.sightings[-1].frame)
    if len(tail) < 2:
        return 0.0, 0.0
    first, last = tail[0], tail[-1]
    seconds = (last.frame - first.frame) / fps
    a, b = first.observation.box, last.observation.box
    return (b.cx - a.cx) / seconds, (b.cy - a.cy) / seconds
