"""How far a result can be relied on: the figures of `quality` in docs/pose-json.md."""

from __future__ import annotations

import numpy as np

from pose_onnx.analysis import Track
from pose_onnx.geometry import iou

SWAP_EXCESS = 0.5  # of summed overlap, by which two people fit better with their ids exchanged


def quality(people: list[Track], filtered: int, not_selected: int, frames: int, fps: float) -> dict:
    """The document's quality for people who are reported; filtered and not_selected count those who are not."""
    seen = {frame for t in people for frame in t.frames}
    gaps = sum(b > a + 1 for t in people for a, b in zip(t.frames, t.frames[1:], strict=False))
    return {"coverage": round(len(seen) / frames, 4), "gaps": gaps,
            "idSwitchesSuspected": hand_overs(people, fps) + swaps(people),
            "peopleFiltered": filtered, "peopleNotSelected": not_selected}


def hand_overs(people: list[Track], fps: float) -> int:
    """How often one ends and another begins within a second, at the same place and of similar size. Each ending and each
    beginning counts once, the nearest in time first."""
    pairs = sorted((later.frames[0] - earlier.frames[-1], k, n)
                   for n, earlier in enumerate(people) for k, later in enumerate(people)
                   if 0 < later.frames[0] - earlier.frames[-1] <= max(1.0, fps)
                   and same_place(earlier.boxes[-1], later.boxes[0]))
    endings, beginnings = set(), set()
    for _, beginning, ending in pairs:
        if ending not in endings and beginning not in beginnings:
            endings.add(ending)
            beginnings.add(beginning)
    return len(endings)


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes [x, y, w, h] differ little in height and are nearer than half of their mean height."""
    apart = float(np.hypot(*(b[:2] + b[2:] / 2 - a[:2] - a[2:] / 2)))
    return abs(a[3] - b[3]) < 0.5 * max(a[3], b[3]) and apart < 0.25 * (a[3] + b[3])


def swaps(people: list[Track]) -> int:
    """How often two people of successive frames would fit much better with their ids exchanged."""
    steps: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for track in people:
        for k in range(len(track.frames) - 1):
            if track.frames[k + 1] == track.frames[k] + 1:
                steps.setdefault(track.frames[k], []).append((track.boxes[k], track.boxes[k + 1]))
    count = 0
    for pairs in steps.values():
        overlap = iou(np.stack([before for before, _ in pairs]), np.stack([after for _, after in pairs]))
        own = overlap.diagonal()
        exchanged = (overlap + overlap.T) > (own[:, None] + own[None, :] + SWAP_EXCESS)
        count += int(np.triu(exchanged, 1).sum())
    return count
