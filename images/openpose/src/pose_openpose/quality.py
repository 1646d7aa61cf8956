"""How far a result can be relied on: the figures of `quality` in docs/pose-json.md."""

import itertools

SWAP_EXCESS = 0.5  # of summed overlap, by which two people fit better with their ids exchanged


def quality(people, filtered, not_selected, frames, fps):
    """The document's quality for people who are reported; filtered and not_selected count those who are not."""
    seen = {frame for track in people for frame in track.frames}
    gaps = sum(b > a + 1 for track in people for a, b in zip(track.frames, track.frames[1:]))
    return {"coverage": round(len(seen) / frames, 4), "gaps": gaps,
            "idSwitchesSuspected": hand_overs(people, fps) + swaps(people),
            "peopleFiltered": filtered, "peopleNotSelected": not_selected}


def hand_overs(people, fps):
    """How often one ends and another begins within a second, at the same place and of similar size. Each ending and each
    beginning counts once, the nearest in time first."""
    pairs = sorted((later.frames[0] - earlier.frames[-1], k, n)
                   for n, earlier in enumerate(people) for k, later in enumerate(people)
                   if 0 < later.frames[0] - earlier.frames[-1] <= max(1.0, fps)
                   and same_place(earlier.box(len(earlier) - 1), later.box(0)))
    endings, beginnings = set(), set()
    for _, beginning, ending in pairs:
        if ending not in endings and beginning not in beginnings:
            endings.add(ending)
            beginnings.add(beginning)
    return len(endings)


def same_place(one, other):
    """Whether two boxes differ little in height and are nearer than half of their mean height."""
    (x, y, w, h), (a, b, c, d) = one, other
    apart = ((a + c / 2 - x - w / 2) ** 2 + (b + d / 2 - y - h / 2) ** 2) ** 0.5
    return abs(h - d) < 0.5 * max(h, d) and apart < 0.25 * (h + d)


def swaps(people):
    """How often two people of successive frames would fit much better with their ids exchanged."""
    steps = {}
    for track in people:
        for k in range(len(track) - 1):
            if track.frames[k + 1] == track.frames[k] + 1:
                steps.setdefault(track.frames[k], []).append((track.box(k), track.box(k + 1)))
    return sum(iou(a, d) + iou(c, b) > iou(a, b) + iou(c, d) + SWAP_EXCESS
               for pairs in steps.values() for (a, b), (c, d) in itertools.combinations(pairs, 2))


def iou(one, other):
    """Overlap of two boxes (left, top, width, height) over their union, 0..1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one[2] * one[3] + other[2] * other[3] - width * height)
