"""How trustworthy a result is, counted from its boxes alone as docs/pose-json.md defines it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SWAP_MARGIN = 0.5  # by how much exchanged boxes must overlap better
NEAR = 0.5  # of the mean height, between an ending and a beginning that may be one person
ALIKE = 0.5  # of the greater height


@dataclass(frozen=True)
class Seen:
    """Where one person was observed: frames (N,) ascending, boxes (N, 4) as [x, y, w, h] in pixels."""

    frames: np.ndarray
    boxes: np.ndarray


def switches_suspected(people: list[Seen], fps: float) -> int:
    """How often it looks as if one person had two ids (hand-overs), or two people one (swaps)."""
    return hand_overs(people, fps) + swaps(people)


def hand_overs(people: list[Seen], fps: float) -> int:
    """Endings soon followed, close by and at a like size, by a beginning. Each ending and each beginning counts once."""
    starts = sorted((int(p.frames[0]), i) for i, p in enumerate(people))
    pairs = []
    for i, a in enumerate(people):
        for start, j in starts:
            wait = start - int(a.frames[-1])
            if 0 < wait <= max(1.0, fps) and _continues(a.boxes[-1], people[j].boxes[0]):
                pairs.append((wait, i, j))
    ended, begun = set(), set()
    for _, i, j in sorted(pairs):
        if i not in ended and j not in begun:
            ended.add(i)
            begun.add(j)
    return len(ended)


def _continues(a: np.ndarray, b: np.ndarray) -> bool:
    apart = math.hypot(a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2)
    return abs(a[3] - b[3]) < ALIKE * max(a[3], b[3]) and apart < NEAR * (a[3] + b[3]) / 2


def swaps(people: list[Seen]) -> int:
    """Pairs of ids whose boxes fit better exchanged from one frame to the next."""
    steps: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for person in people:
        for at in np.flatnonzero(np.diff(person.frames) == 1):
            steps.setdefault(int(person.frames[at]), []).append((person.boxes[at], person.boxes[at + 1]))
    return sum(_swaps_of_step(moves) for moves in steps.values())


def _swaps_of_step(moves: list[tuple[np.ndarray, np.ndarray]]) -> int:
    if len(moves) < 2:
        return 0
    overlap = _overlaps(np.array([m[0] for m in moves]), np.array([m[1] for m in moves]))
    stayed = np.diag(overlap)
    gain = overlap + overlap.T - stayed[:, None] - stayed[None, :]
    return int((np.triu(gain, 1) > SWAP_MARGIN).sum())


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of a (N, 4) with each of b (M, 4): (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (a[:, None, 2:].prod(axis=2) + b[None, :, 2:].prod(axis=2) - common)
