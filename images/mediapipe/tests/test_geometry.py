import math

import numpy as np
import pytest

from pose_mediapipe.detect import anchor_centres, plan_tiles
from pose_mediapipe.geometry import Roi, body_roi, iou, same_body
from pose_mediapipe.landmarks import INPUT, Pose, cut_body, to_pose


def test_upright_body_gives_an_unturned_square():
    roi = body_roi(np.array([50.0, 60.0]), np.array([50.0, 20.0]))
    assert (roi.cx, roi.cy, roi.side, roi.angle) == (50, 60, 100, 0)


@pytest.mark.parametrize("angle", [0, 0.4, -1.2, math.pi])
def test_square_maps_its_middle_and_its_top(angle):
    matrix = Roi(100, 80, 40, angle).to_frame(1.0)
    assert matrix @ (0.5, 0.5, 1) == pytest.approx((100, 80))
    assert matrix @ (0.5, 0.0, 1) == pytest.approx((100 + 20 * math.sin(angle), 80 - 20 * math.cos(angle)))


def test_crop_shows_what_the_matrix_says():
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[40:60, 120:140] = 255
    crop = cut_body(frame, Roi(130, 50, 80, 0.0))[0]
    assert crop.shape == (INPUT, INPUT, 3)
    rows, columns = np.nonzero(crop[:, :, 0] > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((96, 159, 96, 159), abs=1)


def test_world_joints_turn_with_the_square():
    """A square turned by a quarter to the right shows a body whose head points to the right."""
    world = np.zeros((39, 3), np.float32)
    world[0] = (0, -0.6, 0.1)
    raw, heat = np.zeros((39, 5), np.float32), np.full((64, 64, 39), -20, np.float32)
    pose = to_pose(raw.ravel(), world.ravel(), heat, 1.0, Roi(0, 0, 100, math.pi / 2))
    assert pose.world[0] == pytest.approx((0.6, 0, 0.1), abs=1e-6)


def test_anchors_are_those_of_the_model():
    assert anchor_centres().shape == (2254, 2)


@pytest.mark.parametrize("size", [(768, 576), (576, 768), (1921, 1079), (64, 48), (33, 17), (3000, 200)])
def test_tiles_cover_every_pixel(size):
    covered = np.zeros((size[1], size[0]), bool)
    for tile in plan_tiles(*size):
        covered[max(tile.y, 0):tile.y + tile.side, max(tile.x, 0):tile.x + tile.side] = True
    assert covered.all()


def test_overlap():
    assert iou(np.array([0, 0, 10, 10]), np.array([5, 0, 10, 10])) == pytest.approx(1 / 3)
    assert iou(np.array([0, 0, 10, 10]), np.array([20, 0, 10, 10])) == 0


def test_same_body_looks_at_place_size_and_turn():
    base = Roi(100, 100, 100, 3.0)
    assert same_body(base, Roi(110, 100, 110, -3.0))
    assert not same_body(base, Roi(140, 100, 100, 3.0))
    assert not same_body(base, Roi(100, 100, 200, 3.0))
    assert not same_body(base, Roi(100, 100, 100, 1.5))


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_box_reaches_to_the_crown(turn):
    """Ears 20 above the shoulders: the crown is 10 above the ears, also for somebody who lies or stands on their hands."""
    points = np.array([[0, y] for y in (18, *[18] * 6, 20, 20, 24, 24, 40, 40, *range(42, 78, 2), 120, 120)], np.float32)
    corner = np.array([[0, -1], [1, 0]], np.float32)
    points = points @ np.linalg.matrix_power(corner, turn).T
    x, y, w, h = Pose(points, np.ones(33), np.zeros((33, 3)), 0.9, Roi(0, 0, 130, 0)).box
    pad = 0.012 * 110 + 0.5
    crown, soles = [(y, y + h), (x + w, x), (y + h, y), (x, x + w)][turn]
    sign = [1, -1, -1, 1][turn]
    assert (sign * crown + pad, sign * soles - pad) == pytest.approx((10, 120), abs=1e-3)


def test_a_box_that_was_given_is_not_touched():
    pose = Pose(np.zeros((33, 2), np.float32), np.ones(33), np.zeros((33, 3)), 0.9, Roi(0, 0, 1, 0), (1.5, 2, 3, 4))
    assert pose.box.tolist() == [1.5, 2, 3, 4]
