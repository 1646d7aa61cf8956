"""Who is in the result, and what is missing from it (docs/pose-json.md, quality)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Tuple

import numpy as np

from pose_phalp.results.geometry import overlap

SWAP_GAIN = 0.5  # by how much exchanged boxes must fit better
HANDOVER_HEIGHT = 0.5  # of the greater height
HANDOVER_DISTANCE = 0.5  # of the mean height


@dataclass
class Person:
    """What is kept in memory of one id. first, last: frames of the first and last sighting. tall: sum of the heights of its
    boxes in pixels. betas: sum over sightings, (10,). gap: entries, by number, in which it is not seen since last."""

    id: int
    first: int
    first_box: np.ndarray
    last: int = -1
    last_box: Optional[np.ndarray] = None
    last_value: int = -1
    seen: int = 0
    gaps: int = 0
    tall: float = 0.0
    betas: np.ndarray = field(default_factory=lambda: np.zeros(10))
    gap: List[int] = field(default_factory=list)

    def sight(self, frame: int, box: np.ndarray, betas: np.ndarray, value: int) -> None:
        self.gaps += self.seen > 0 and frame > self.last + 1
        self.last, self.last_box, self.last_value = frame, box, value
        self.seen += 1
        self.tall += float(box[3])
        self.betas += betas


def select(people: Iterable[Person], most: int) -> Dict[int, Person]:
    """The most people with the largest sum of box heights over the frames in which they are seen; 0 keeps all."""
    ranked = sorted(people, key=lambda p: (-p.tall, p.id))
    return {p.id: p for p in sorted(ranked[:most] if most else ranked, key=lambda p: p.id)}


class Swaps:
    """Counts, between one frame and the next, the pairs of people whose boxes fit better exchanged."""

    def __init__(self) -> None:
        self._before: Tuple[np.ndarray, np.ndarray] = (np.zeros(0, np.int64), np.zeros((0, 4)))
        self._pairs: Counter = Counter()

    def frame(self, ids: List[int], boxes: List[np.ndarray]) -> None:
        """ids ascend."""
        now = (np.array(ids, np.int64), np.array(boxes, np.float64).reshape(-1, 4))
        common, old, new = np.intersect1d(self._before[0], now[0], return_indices=True)
        if len(common) > 1:
            fits = overlap(self._before[1][old], now[1][new])
            own = np.diag(fits)
            gain = fits + fits.T - own[:, None] - own[None]
            for a, b in zip(*np.nonzero(np.triu(gain > SWAP_GAIN, 1))):
                self._pairs[int(common[a]), int(common[b])] += 1
        self._before = now

    def count(self, kept: Dict[int, Person]) -> int:
        return sum(n for (a, b), n in self._pairs.items() if a in kept and b in kept)


def handovers(people: Iterable[Person], fps: float) -> int:
    """How often one id ends where, within a second, another begins. Each end and each begin counts once."""
    by_begin = sorted(people, key=lambda p: (p.first, p.id))
    by_end = sorted(by_begin, key=lambda p: (p.last, p.id))
    longest = max(1.0, fps)
    free: List[Person] = []
    at = count = 0
    for later in by_begin:
        while at < len(by_end) and by_end[at].last < later.first:
            free.append(by_end[at])
            at += 1
        free = [p for p in free if later.first - p.last <= longest]
        near = [(d, i) for i, p in enumerate(free) for d in [_distance(p, later)] if d is not None]
        if near:
            del free[min(near)[1]]
            count += 1
    return count


def _distance(ended: Person, begun: Person) -> Optional[float]:
    """Pixels between the boxes' centres, None where they are too far apart or too different."""
    a, b = ended.last_box, begun.first_box
    apart = float(np.hypot(*(a[:2] + a[2:] / 2 - b[:2] - b[2:] / 2)))
    if abs(a[3] - b[3]) >= HANDOVER_HEIGHT * max(a[3], b[3]) or apart >= HANDOVER_DISTANCE * (a[3] + b[3]) / 2:
        return None
    return apart
