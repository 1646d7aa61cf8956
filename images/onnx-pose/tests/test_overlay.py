"""Heads that `blurred` hides: where, how long, and how well."""

from __future__ import annotations

import numpy as np
import pytest

from pose_onnx.analysis import Track
from pose_onnx.draw import box_head, head_circles, hide_circle
from pose_onnx.overlay import HeadHider
from pose_onnx.result import People, Video
from pose_onnx.skeleton import SKELETONS

COCO = SKELETONS[17]
WIDTH, HEIGHT = 320, 240


def noise():
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def person(frames, step=0.0, sure=1.0, box=(100, 40, 40, 120)):
    """A track of somebody upright in whose box the joints are where they are in most people, step pixels on each frame."""
    track = Track(1)
    for frame in frames:
        moved = np.array(box, np.float32) + [step * frame, 0, 0, 0]
        x, y, w, h = moved
        points = np.zeros((17, 3), np.float32)
        points[:5] = [x + w / 2, y + 0.08 * h, sure]
        points[[5, 6]] = [x + w / 2, y + 0.2 * h, sure]
        points[7:13] = [x + w / 2, y + 0.5 * h, sure]
        points[13:] = [x + w / 2, y + 0.9 * h, sure]
        track.frames.append(frame)
        track.boxes.append(moved)
        track.scores.append(0.9)
        track.points.append(points)
    return track


def covered(circles, x, y):
    return any((x - cx) ** 2 + (y - cy) ** 2 <= r**2 for cx, cy, r in circles)


def hidden(track, count, x, y):
    """In which of count frames at 10 a second the place is hidden; x and y may be functions of the frame."""
    strays = [np.empty((0, 4), np.float32)] * count
    hider = HeadHider(People([track], WIDTH, HEIGHT), strays, COCO, Video(WIDTH, HEIGHT, 10, count, 0))
    return [covered(hider.circles(), x(i) if callable(x) else x, y) for i in range(count)]


def test_a_face_is_hidden_before_it_is_found_after_it_is_lost_and_in_gaps():
    seen = hidden(person([8, 9, 10, 30, 31]), 45, 120, 50)
    assert seen == [False] * 3 + [True] * 34 + [False] * 8


def test_somebody_who_walks_through_a_gap_unevenly_stays_hidden():
    """The straight line between two sightings is up to 25 pixels off here; the person is 40 pixels wide."""
    track = person([0, 1, 20, 21], step=3)
    off = lambda i: 120 + 3 * i + (25 if 5 < i < 15 else 0)  # noqa: E731 - a place in a frame
    assert all(hidden(track, 22, off, 50))


@pytest.mark.parametrize("scale", [0.2, 1, 3])
def test_the_circle_grows_with_the_head(scale):
    box = (10 * scale, 5 * scale, 40 * scale, 120 * scale)
    people = People([person([0], box=box)], 2000, 2000)
    circles = head_circles(next(people.frames(1))[0], COCO, 2000)
    middle, top = 30 * scale, 5 * scale
    for dx, dy in ((0, 1), (0, 19), (-8, 10), (8, 10)):  # a head: 16 wide and 20 high, of a person of 120
        assert covered(circles, middle + dx * scale, top + dy * scale), (dx, dy)


@pytest.mark.parametrize(("box", "places"), [
    ((100, 60, 40, 120), [(120, 64), (120, 85)]),
    ((100, 120, 80, 120), [(140, 130), (140, 205)]),
    ((60, 150, 160, 90), [(140, 160), (140, 230)]),
    ((40, 100, 160, 50), [(50, 125), (190, 125)]),
], ids=["upright", "cut off below", "a bust", "lying"])
def test_the_head_of_a_box_alone(box, places):
    circle = box_head(np.array(box, np.float32), HEIGHT)
    assert all(covered([circle], x, y) for x, y in places)


def test_unsure_joints_are_not_believed():
    track = person([0], sure=0.1)
    track.points[0][:, :2] = [300, 200]
    people = People([track], WIDTH, HEIGHT)
    assert covered(head_circles(next(people.frames(1))[0], COCO, HEIGHT), 120, 50)


@pytest.mark.parametrize(("x", "y", "radius"), [(160, 120, 60), (-48, 120, 60), (160, 120, 5), (319, 5, 30)])
def test_no_detail_is_left(x, y, radius):
    """Neighbours differ by some 85 in noise; in the disc by little, also where the frame's edge leaves a sliver of it."""
    picture = noise()
    hide_circle(picture, x, y, radius)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= (radius - 1) ** 2
    pairs = inside[:, 1:] & inside[:, :-1]
    assert np.abs(np.diff(picture.astype(int), axis=1))[pairs].mean() < 12


def test_what_the_edge_cuts_is_no_finer():
    """Of a disc of which a sliver is in the picture, one column of patches is left, not four."""
    blocks = np.random.default_rng(1).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    picture = blocks.repeat(4, axis=0).repeat(4, axis=1)
    hide_circle(picture, -48, 120, 60)
    assert np.ptp(picture[120, :11].astype(int), axis=0).max() <= 2
