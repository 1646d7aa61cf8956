"""Second pass: frame by frame from the spool, every frame of the video, gaps filled."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from pose_phalp.results import geometry
from pose_phalp.results.facts import Facts
from pose_phalp.results.quality import Person
from pose_phalp.results.spool import Spool


class Shown(NamedTuple):
    """One person in one frame; value is a sighting.VALUE."""

    id: int
    seen: bool
    value: np.ndarray


class Shot(NamedTuple):
    """One frame; time in seconds."""

    index: int
    time: float
    people: List[Shown]


def looks(spool: Spool, kept: Dict[int, Person]) -> Iterator[Tuple[int, float, List[np.ndarray]]]:
    """The frames that were looked at: index, time, and the spool's entries of people who are in the result. Entries before a
    person's first sighting do not exist; those behind the last one have no sighting after them and are left out."""
    entries = iter(spool.entries)
    for record in spool.frames:
        present = [next(entries) for _ in range(record["people"])]
        shown = [e for e in present if int(e["id"]) in kept and (e["seen"] or e["after"] >= 0)]
        yield int(record["index"]), float(record["time"]), shown


def observed_frames(spool: Spool, kept: Dict[int, Person]) -> int:
    """Frames in which somebody of the result is seen."""
    return sum(any(e["seen"] for e in entries) for _, _, entries in looks(spool, kept))


def shots(spool: Spool, kept: Dict[int, Person], facts: Facts, count: int) -> Iterator[Shot]:
    """Frames 0..count-1. Between frames that were looked at, whoever is in both is interpolated."""
    value = spool.values.get
    before = None
    for index, time, entries in looks(spool, kept):
        if before is not None:
            yield from _skipped(before, (index, time, entries), value)
        yield Shot(index, time, [_shown(e, index, value) for e in entries])
        before = (index, time, entries)
    last, time = (before[0], before[1]) if before else (-1, -1 / facts.fps)
    for index in range(last + 1, count):
        yield Shot(index, time + (index - last) / facts.fps, [])


def _shown(entry: np.ndarray, index: int, value: Callable[[int], np.ndarray]) -> Shown:
    if entry["seen"]:
        return Shown(int(entry["id"]), True, value(int(entry["value"])))
    return Shown(int(entry["id"]), False, between(value(int(entry["value"])), value(int(entry["after"])), index))


def _skipped(before: tuple, after: tuple, value: Callable[[int], np.ndarray]) -> Iterator[Shot]:
    first, start, left = before
    last, end, right = after
    if last == first + 1:
        return
    to = {int(e["id"]): int(e["value"] if e["seen"] else e["after"]) for e in right}
    ends = [(int(e["id"]), value(int(e["value"])), value(to[int(e["id"])])) for e in left if int(e["id"]) in to]
    for index in range(first + 1, last):
        time = start + (end - start) * (index - first) / (last - first)
        yield Shot(index, time, [Shown(number, False, between(a, b, index)) for number, a, b in ends])


def between(first: np.ndarray, last: np.ndarray, index: int) -> np.ndarray:
    """The sighting that frame index would have had: numbers in a line, rotations along the shortest arc."""
    share = (index - int(first["frame"])) / (int(last["frame"]) - int(first["frame"]))
    mixed = first.copy()
    mixed["frame"] = index
    for name in ("score", "box", "points", "joints", "place", "origin", "betas"):
        mixed[name] = (1 - share) * first[name] + share * last[name]
    mixed["rotations"] = geometry.between(first["rotations"].astype(np.float64), last["rotations"].astype(np.float64), share)
    return mixed
