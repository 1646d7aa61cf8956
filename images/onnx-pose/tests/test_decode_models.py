"""Known numbers in a model's output must be known pixels of the frame, and pictures must reach the model as it was trained."""

import numpy as np
import pytest

from pose_onnx import detector, rtmpose, yolo
from pose_onnx.geometry import Crop, Letterbox, iou, suppress


@pytest.mark.parametrize(("frame", "side", "centred", "size", "offset"), [
    ((1280, 720), 640, True, (640, 360), (0, 140)),
    ((720, 1280), 640, True, (360, 640), (140, 0)),
    ((320, 240), 640, False, (640, 480), (0, 0)),
    ((333, 77), 640, True, (640, 148), (0, 246)),
    ((16384, 1), 640, True, (640, 1), (0, 319)),
])
def test_letterbox_keeps_proportions(frame, side, centred, size, offset):
    letterbox = Letterbox.fit(frame, (side, side), centred)
    assert (letterbox.size, letterbox.offset) == (size, offset)


def test_letterbox_there_and_back():
    """A white rectangle of the frame lies in the input where its corners, sent back, are the rectangle's."""
    frame = np.zeros((180, 320, 3), np.uint8)
    frame[40:80, 100:220] = 255
    letterbox = Letterbox.fit((320, 180), (640, 640), centred=True)
    seen = letterbox.apply(frame)
    assert (seen[0] == 114).all() and (seen[-1] == 114).all()
    rows, columns = np.nonzero(seen[:, :, 0] > 127)
    corners = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    assert letterbox.boxes_to_frame(corners)[0] == pytest.approx((100, 40, 120, 40), abs=0.5)


def raw_yolo(*people, cells=21):
    output = np.zeros((1, 56, cells), np.float32)
    for k, (box, score, points) in enumerate(people):
        output[0, :5, 3 * k] = (*box, score)
        output[0, 5:, 3 * k] = np.asarray(points, np.float32).ravel()
    return output


JOINTS = [(100 + 10 * k, 300 + 5 * k, k / 20) for k in range(17)]
LETTERBOX = Letterbox.fit((1280, 720), (640, 640), centred=True)  # half the size, 140 rows of grey above


def test_yolo_output_becomes_pixels():
    found = yolo.decode(raw_yolo(((320, 320, 100, 200), 0.9, JOINTS)), LETTERBOX)
    assert found.boxes.tolist() == [[540, 160, 200, 400]]
    assert found.scores[0] == pytest.approx(0.9)
    assert found.points[0, 16] == pytest.approx((2 * 260 + 0.5, 2 * (380 - 140) + 0.5, 0.8))


def test_yolo_keeps_one_of_two_boxes_of_a_person_and_both_people():
    found = yolo.decode(raw_yolo(((320, 320, 100, 200), 0.6, JOINTS), ((322, 321, 100, 200), 0.9, JOINTS),
                                 ((500, 320, 100, 200), 0.7, JOINTS), ((60, 320, 100, 200), 0.09, JOINTS)), LETTERBOX)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.boxes[0, 0] == 544


def test_yolo_output_after_suppression():
    output = np.zeros((1, 300, 57), np.float32)
    output[0, 0] = (270, 220, 370, 420, 0.9, 0, *np.ravel(JOINTS))
    output[0, 1] = (270, 220, 370, 420, 0.8, 3, *np.ravel(JOINTS))  # another class
    found = yolo.decode(output, LETTERBOX)
    assert found.boxes.tolist() == [[540, 160, 200, 400]]
    assert found.points[0, 0] == pytest.approx((200.5, 320.5, 0))


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf])
def test_yolo_drops_what_is_no_number(wild):
    good, bad = ((320, 320, 100, 200), 0.9, JOINTS), ((500, wild, 100, 200), 0.9, JOINTS)
    assert len(yolo.decode(raw_yolo(good, bad), LETTERBOX)) == 1
    assert len(yolo.decode(raw_yolo(good, ((500, 300, 100, 200), 0.9, [*JOINTS[:16], (wild, 0, 0)])), LETTERBOX)) == 1


def test_yolo_with_thousands_of_boxes_keeps_a_hundred():
    output = np.zeros((1, 56, 8400), np.float32)
    rows, columns = np.mgrid[:84, :100]
    output[0, 0], output[0, 1] = columns.ravel() * 6, rows.ravel() * 6
    output[0, 2:4], output[0, 4] = 5, 0.5
    assert len(yolo.decode(output, LETTERBOX)) == 100


def test_yolo_sees_red_first_from_0_to_1():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[:, :] = (10, 20, 255)  # blue, green, red
    assert yolo.picture(frame)[0, :, 1, 2] == pytest.approx((1, 20 / 255, 10 / 255))


def test_detector_sees_what_its_family_was_trained_on():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[:, :] = (10, 20, 255)
    assert detector.picture(frame, "yolox")[0, :, 1, 2].tolist() == [10, 20, 255]
    assert detector.picture(frame, "rtmdet")[0, :, 1, 2] == pytest.approx(
        ((10 - 103.53) / 57.375, (20 - 116.28) / 57.12, (255 - 123.675) / 58.395), abs=1e-5)


def test_dets_of_people_only():
    dets = np.array([[[10, 20, 30, 60, 0.9], [0, 0, 5, 5, 0.8]]], np.float32)
    corners, scores = detector.people_of_final([dets, np.array([[0, 2]])])
    assert corners.tolist() == [[10, 20, 30, 60]]
    assert scores == pytest.approx([0.9])


def test_raw_yolox_is_decoded_by_cell_and_stride():
    grid = detector.cells((64, 32))
    assert grid.shape == (32 + 8 + 2, 3)
    output = np.zeros((1, 42, 85), np.float32)
    output[0, 8 * 1 + 3] = (0.5, 0.25, np.log(4), np.log(6), 0.9, 0.8, *[0.0] * 79)  # stride 8, row 1, column 3
    output[0, 32 + 2] = (0.5, 0.5, 0, 0, 0.9, 0.3, 0.6, *[0.0] * 78)  # rather another class
    output[0, 41] = (0, 0, 0, 0, 1, 0.5, *[0.0] * 79)  # stride 32, row 0, column 1
    corners, scores = detector.people_of_raw(output, grid)
    assert corners[0] == pytest.approx((28 - 16, 10 - 24, 28 + 16, 10 + 24), abs=1e-4)
    assert corners[1] == pytest.approx((16, -16, 48, 16), abs=1e-4)
    assert scores == pytest.approx([0.72, 0.5])


@pytest.mark.parametrize(("box", "size"), [((100, 50, 60, 200), (187.5, 250)), ((100, 50, 200, 60), (250, 1000 / 3))])
def test_crop_has_room_around_and_the_inputs_proportions(box, size):
    crop = Crop.around(np.array(box, float), (192, 256))
    assert crop.size == pytest.approx(size)
    assert crop.centre == (box[0] + box[2] / 2, box[1] + box[3] / 2)


def test_crop_there_and_back():
    frame = np.zeros((300, 400, 3), np.uint8)
    frame[120, 150] = 255
    crop = Crop.around(np.array([100.0, 50, 96, 160]), (192, 256))
    seen = crop.apply(frame)[:, :, 0].astype(float)
    rows, columns = np.indices(seen.shape)
    middle = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
    assert crop.to_frame(middle) == pytest.approx((150, 120), abs=0.3)


def test_simcc_output_becomes_pixels():
    x, y = np.full((2, 17, 384), -0.1, np.float32), np.full((2, 17, 512), -0.1, np.float32)
    x[1, 4, 100], y[1, 4, 301] = 0.8, 0.6
    x[1, 5, 7] = np.nan
    points, sure = rtmpose.decode(x, y)
    assert points[1, 4].tolist() == [50, 150.5]
    assert sure[1, 4] == pytest.approx(0.6)
    assert sure[0].max() == 0
    crop = Crop((200, 150), (96, 128), (192, 256))
    assert crop.to_frame(points[1, 4]) == pytest.approx((152 + 25, 86 + 75.25))


def test_overlap():
    a = np.array([[0, 0, 10, 10], [20, 0, 10, 10]], float)
    assert iou(a, np.array([[5.0, 0, 10, 10]])).ravel() == pytest.approx([1 / 3, 0])


def test_suppression_of_nothing():
    assert suppress(np.empty((0, 4)), np.empty(0), 0.5, 10).tolist() == []
