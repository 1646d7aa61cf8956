"""The joints of each model, by their number: COCO's 17, Halpe's 26 and COCO-WholeBody's 133."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)
_COCO_LINES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)
_HALPE = (*_COCO, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
          "left_heel", "right_heel")
_HALPE_LINES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (17, 18), (18, 5), (18, 6), (5, 7), (7, 9), (6, 8), (8, 10), (18, 19),
    (19, 11), (19, 12), (11, 13), (13, 15), (12, 14), (14, 16), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
)
_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_FACE_FIRST, _LEFT_HAND, _RIGHT_HAND = 23, 91, 112
# Runs of face points that belong together: jaw, brows, nose, eyes, lips. (first, last, closed), numbers within the face.
_FACE_RUNS = ((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False), (36, 41, True),
              (42, 47, True), (48, 59, True), (60, 67, True))


@dataclass(frozen=True)
class Skeleton:
    """joints: names in the model's order. edges: pairs of joint numbers to draw. head: joints that lie on the head."""

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    head: tuple[int, ...]


def _whole_body_joints() -> tuple[str, ...]:
    hands = tuple(name for side in ("left", "right")
                  for name in (f"{side}_hand_root", *(f"{side}_{finger}{k}" for finger in _FINGERS for k in range(1, 5))))
    return (*_COCO, *_FEET, *(f"face-{k}" for k in range(68)), *hands)


def _whole_body_lines() -> tuple[tuple[int, int], ...]:
    lines = [*_COCO_LINES, (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)]
    for first, last, closed in _FACE_RUNS:
        points = [_FACE_FIRST + k for k in range(first, last + 1)]
        lines += [*pairwise(points), *([(points[-1], points[0])] if closed else [])]
    for root in (_LEFT_HAND, _RIGHT_HAND):
        for finger in range(5):
            chain = [root, *(root + 1 + 4 * finger + k for k in range(4))]
            lines += pairwise(chain)
    return tuple(lines)


SKELETONS = {
    17: Skeleton("coco-17", _COCO, _COCO_LINES, tuple(range(5))),
    26: Skeleton("halpe-26", _HALPE, _HALPE_LINES, (*range(5), 17)),
    133: Skeleton("coco-wholebody-133", _whole_body_joints(), _whole_body_lines(), (*range(5), *range(23, 91))),
}
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 5, 6, 11, 12  # in all three
