import json

import numpy as np
import pytest
import rules

from pose_onnx.analysis import Track
from pose_onnx.draw import box_head, head_circles, hide_circle
from pose_onnx.overlay import HeadHider, draw_frames
from pose_onnx.quality import hand_overs, quality, swaps
from pose_onnx.result import Engine, People, Video, document, fit_box, header, write_document
from pose_onnx.skeleton import SKELETONS

COCO = SKELETONS[17]


def track(frames, key=1, x=50.0, y=60.0, sure=0.987, h=80.0):
    points = np.array([[x + 3 * (k % 5), y + 4 * k, sure] for k in range(17)], np.float32)
    box = np.array([x, y, 20, h], np.float32)
    n = len(frames)
    return Track(key, list(frames), [box] * n, [0.9876] * n, [points] * n)


def made(tracks, frames, keep_ids=False):
    people = People(tracks, 200, 160, keep_ids)
    head = header(Video(200, 160, 10.0, frames, 7), Engine("yolo-pose", "CPU", []), COCO, people, quality(tracks, 2, 1, frames, 10))
    return json.loads("".join(document(head, people.frames(frames))))


def test_gap_is_filled_and_marked():
    first, last = track([2], x=50), track([6], x=90)
    joined = Track(1, [2, 6], first.boxes + last.boxes, first.scores + last.scores, first.points + last.points)
    result = made([joined], 9)
    assert rules.broken(result) == []
    assert [len(f["people"]) for f in result["frames"]] == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    middle = result["frames"][4]["people"][0]
    assert (middle["observed"], middle["joints2d"][0]) == (False, [70, 60, 0])
    assert result["quality"] == {"coverage": 0.2222, "gaps": 1, "idSwitchesSuspected": 0, "peopleFiltered": 2, "peopleNotSelected": 1}


def test_ids_of_the_user_are_kept():
    assert [p["id"] for p in made([track([0], key=9), track([0], key=4)], 1, keep_ids=True)["people"]] == [4, 9]
    assert [p["id"] for p in made([track([0], key=9), track([0], key=4)], 1)["people"]] == [1, 2]


@pytest.mark.parametrize("wild", [{"x": 1e9}, {"x": -1e9}, {"y": 1e30}, {"sure": 7.0}, {"sure": -1.0}, {"h": 1e6}])
def test_wild_guesses_stay_within_the_rules(wild):
    assert rules.broken(made([track([0], **wild)], 1)) == []


@pytest.mark.parametrize("box", [[-500, -500, 10, 10], [900, 900, 10, 10], [0, 0, 9999, 9999], [5, 5, 0, 0], [199.96, 1, 3, 3]])
def test_boxes_touch_the_frame(box):
    x, y, w, h = np.round(fit_box(np.array(box, float), 200, 160), 1)
    assert x < 200 and y < 160 and x + w > 0 and y + h > 0 and 0 < w <= 600 and 0 < h <= 480


def test_who_ends_where_another_begins_may_be_the_same():
    assert hand_overs([track([0, 1, 2], 1), track([6, 7], 2, x=60)], 10) == 1
    assert hand_overs([track([0, 1, 2], 1), track([6, 7], 2, x=60), track([6, 7], 3, x=55)], 10) == 1
    assert hand_overs([track([0, 1, 2], 1), track([6, 7], 2, x=150)], 10) == 0
    assert hand_overs([track([0, 1, 2], 1), track([6, 7], 2, h=170)], 10) == 0
    assert hand_overs([track([0, 1, 2], 1), track([30], 2)], 10) == 0


def test_exchanged_ids_are_suspected():
    here, there = track([0, 1], 1), track([0, 1], 2, x=150)
    assert swaps([here, there]) == 0
    here.boxes[1], there.boxes[1] = there.boxes[1], here.boxes[1]
    assert swaps([here, there]) == 1


def test_result_appears_only_when_complete(tmp_path):
    def pieces():
        yield "{"
        assert not (tmp_path / "pose.json").exists()
        raise RuntimeError("the engine dies here")

    with pytest.raises(RuntimeError):
        write_document(tmp_path, pieces())
    assert not (tmp_path / "pose.json").exists()


@pytest.mark.parametrize("joints", SKELETONS)
def test_skeletons_are_whole(joints):
    skeleton = SKELETONS[joints]
    assert len(set(skeleton.joints)) == len(skeleton.joints) == joints
    assert {k for edge in skeleton.edges for k in edge} <= set(range(joints))
    assert all(a != b for a, b in skeleton.edges)
    assert len(set(skeleton.edges)) == len(skeleton.edges)


def test_whole_body_joints_have_their_known_numbers():
    joints = SKELETONS[133].joints
    assert [joints[k] for k in (17, 22, 23, 90, 91, 92, 111, 112, 132)] == [
        "left_big_toe", "right_heel", "face-0", "face-67", "left_hand_root", "left_thumb1", "left_pinky_finger4",
        "right_hand_root", "right_pinky_finger4"]


# --- hidden heads -----------------------------------------------------------------------------------------------------


def noise():
    return np.random.default_rng(1).integers(0, 256, (160, 200, 3), np.uint8)


def test_a_hidden_disc_cannot_be_seen():
    before, after = noise(), noise()
    hide_circle(after, 100, 80, 20)
    assert after[70:90, 90:110].std() < before[70:90, 90:110].std() / 3
    assert (after[:55] == before[:55]).all()


def test_heads_of_people_and_of_strays_are_hidden():
    people = People([track([1, 2])], 200, 160)
    stray = np.array([[150, 20, 30, 100]], np.float32)
    strays = [stray, *[np.empty((0, 4), np.float32)] * 3]
    video = Video(200, 160, 10, 4, 0)
    hider = HeadHider(people, strays, COCO, video)
    shown = list(draw_frames([noise()] * 4, People([], 200, 160), video, COCO, hider, staged=False))
    x, y, _ = (round(v) for v in head_circles(next(people.frames(2)) or list(people.frames(2))[1][0], COCO)[0])
    assert all(frame[y - 3:y + 4, x - 3:x + 4].std() < 30 for frame in shown)
    sx, sy, _ = (round(v) for v in box_head(stray[0]))
    assert shown[0][sy - 3:sy + 4, sx - 3:sx + 4].std() < 30
    assert (shown[3][120:, 20:40] == noise()[120:, 20:40]).all()
