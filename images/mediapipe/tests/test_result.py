import json

import jsonschema
import numpy as np
import pytest
import rules

from pose_mediapipe.geometry import Roi
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.result import LeftOut, People, Video, document, fit_box, header, select, write_document
from pose_mediapipe.track import Box, Observation, Sighting, Track


def pose(x=50.0, y=60.0, world=0.2):
    points = np.array([[x + k % 5, y + k] for k in range(33)], np.float32)
    return Pose(points, np.full(33, 0.987, np.float32), np.full((33, 3), world, np.float32), 0.9876, Roi(x, y, 80, 0))


def track(frames, key=1, **where):
    sightings = [Sighting(f, Observation(Box(0, 0, 1, 1), 0.9, payload=pose(**where))) for f in frames]
    return Track(key, Box(0, 0, 1, 1), sightings=sightings)


def made(tracks, frames, width=200, height=160, left_out=LeftOut(), capture_fps=0.0, focal_length=0.0, **how):
    """The parsed document of some tracks."""
    people = People(tracks, width, height, **how)
    video = Video(width, height, 10.0, frames, 7, capture_fps, focal_length)
    head = header(video, [("m.tflite", "0" * 64)], people, left_out)
    return json.loads("".join(document(head, people.frames(frames))))


def check(result):
    jsonschema.validate(result, json.loads(rules.SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert rules.broken(result) == []


def test_schema_and_example_agree():
    schema = json.loads(rules.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check(rules.load(rules.EXAMPLE))


def test_gap_is_filled_and_marked():
    first, last = track([2], x=50.0), track([6], x=90.0)
    result = made([Track(1, Box(0, 0, 1, 1), sightings=first.sightings + last.sightings)], 9)
    check(result)
    assert [len(f["people"]) for f in result["frames"]] == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    middle = result["frames"][4]["people"][0]
    assert middle["observed"] is False
    assert middle["joints2d"][0] == [70.0, 60.0, 0.0]
    assert "observed" not in result["frames"][2]["people"][0]
    assert result["people"] == [{"id": 1, "firstFrame": 2, "lastFrame": 6, "framesSeen": 2}]


def test_people_are_numbered_in_order_of_appearance():
    result = made([track([5, 6], key=3), track([1, 2], key=8), track([5], key=2)], 8)
    check(result)
    assert [(p["id"], p["firstFrame"]) for p in result["people"]] == [(1, 1), (2, 5), (3, 5)]


def test_given_ids_are_kept():
    result = made([track([5, 6], key=30), track([1, 2], key=8)], 8, keep_keys=True)
    check(result)
    assert [(p["id"], p["firstFrame"]) for p in result["people"]] == [(8, 1), (30, 5)]


def test_long_absence_is_not_filled():
    result = made([track([0, 3, 9])], 10, fill=2)
    check(result)
    assert [len(f["people"]) for f in result["frames"]] == [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    assert result["quality"]["gaps"] == 2


def test_quality_is_counted():
    result = made([track([0, 1, 4, 5, 8]), track([1, 2], key=2)], 10, left_out=LeftOut(3, 2))
    check(result)
    assert result["quality"] == {"coverage": 0.6, "gaps": 2, "idSwitchesSuspected": 0, "peopleFiltered": 3,
                                 "peopleNotSelected": 2}


def test_what_the_user_knows_of_the_camera_is_recorded():
    result = made([track([0])], 1, capture_fps=240.0, focal_length=1234.5)
    check(result)
    assert result["video"]["captureFPS"] == 240
    assert (result["camera"]["focalLengthPx"], result["camera"]["focalLengthOrigin"]) == (1234.5, "Given")
    assert result["camera"]["principalPoint"] == [100, 80]
    assert not {"camera"} & made([track([0])], 1).keys() and "captureFPS" not in made([track([0])], 1)["video"]


def test_those_seen_largest_and_longest_are_kept():
    low = Pose(pose().points[:, :] * 0.1, *[getattr(pose(), n) for n in ("visibility", "world", "score", "roi")])
    small = Track(1, Box(0, 0, 1, 1), sightings=[Sighting(f, Observation(Box(0, 0, 1, 1), 0.9, payload=low)) for f in range(9)])
    tracks = [small, track(range(5), key=2), track(range(6), key=3)]
    assert [t.key for t in select(tracks, 2)] == [3, 2]
    assert select(tracks, 0) == tracks and select(tracks, 3) == tracks


def test_nobody_is_a_valid_result():
    result = made([], 4)
    check(result)
    assert [f["people"] for f in result["frames"]] == [[], [], [], []]


def test_numbers_are_rounded():
    person = made([track([0], x=50.04)], 1)["frames"][0]["people"][0]
    assert person["score"] == 0.988
    assert person["joints2d"][0] == [50.0, 60.0, 0.99]
    assert person["joints3d"][0] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("wild", [{"x": 1e9}, {"x": -1e9}, {"y": 1e30}, {"x": float("nan")}, {"y": float("inf")},
                                  {"world": 1e6}, {"world": float("nan")}])
def test_wild_guesses_stay_within_the_rules(wild):
    check(made([track([0], **wild)], 1))


@pytest.mark.parametrize("box", [[-500, -500, 10, 10], [900, 900, 10, 10], [0, 0, 9999, 9999], [5, 5, 0, 0], [199.96, 1, 3, 3]])
def test_boxes_touch_the_frame(box):
    x, y, w, h = np.round(fit_box(np.array(box, float), 200, 160), 1)
    assert x < 200 and y < 160 and x + w > 0 and y + h > 0 and 0 < w <= 600 and 0 < h <= 480


def test_result_appears_only_when_complete(tmp_path):
    def pieces():
        yield "{"
        assert not (tmp_path / "pose.json").exists()
        raise RuntimeError("the engine dies here")

    with pytest.raises(RuntimeError):
        write_document(tmp_path, pieces())
    assert not (tmp_path / "pose.json").exists()


def spoil(change):
    result = made([track([0, 1, 3])], 4)
    change(result)
    return rules.broken(result)


@pytest.mark.parametrize(("rule", "change"), [
    ("R2", lambda d: d["frames"].pop()),
    ("R3", lambda d: d["frames"][0]["people"].append(d["frames"][0]["people"][0])),
    ("R4", lambda d: d["people"].append({"id": 9, "firstFrame": 0, "lastFrame": 0, "framesSeen": 1})),
    ("R5", lambda d: d["people"][0].update(framesSeen=4)),
    ("R6", lambda d: d["frames"][0]["people"][0]["joints2d"].pop()),
    ("R7", lambda d: d["frames"][0]["people"][0].pop("joints3d")),
    ("R8", lambda d: d["skeleton"]["edges"].append([0, 33])),
    ("R9", lambda d: d["frames"][0]["people"][0].update(bbox=[500, 0, 5, 5])),
    ("R10", lambda d: d["frames"][0]["people"][0]["joints2d"][4].__setitem__(0, 601.0)),
    ("R11", lambda d: d["frames"][0]["people"][0]["joints3d"][4].__setitem__(2, -10.5)),
    ("R15", lambda d: d["quality"].update(gaps=0)),
    ("R15", lambda d: d["quality"].update(coverage=0.9)),
    ("R12", lambda d: d["frames"][2]["people"][0]["joints2d"][4].__setitem__(2, 0.5)),
])
def test_the_checker_sees_each_broken_rule(rule, change):
    assert rule in spoil(change)
