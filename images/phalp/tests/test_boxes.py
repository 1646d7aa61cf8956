"""Boxes files: what is read, and what is refused with which words."""

from __future__ import annotations

import json
import pickle

import pytest

from pose_phalp import boxes
from pose_phalp.boxes import Box, parse_csv, parse_json, read_boxes
from pose_phalp.errors import EngineError, Failure


def document(*frames: dict, **more) -> str:
    return json.dumps({"apiVersion": "pose.dev/v1alpha1", "kind": "PoseBoxes", "frames": list(frames)} | more)


def frame(index, *bboxes, **more) -> dict:
    return {"index": index, "boxes": [{"bbox": list(b)} | more for b in bboxes]}


def test_json():
    given = parse_json(document(frame(2, [1, 2, 3, 4], score=0.5, id=7), frame(0, [5, 6, 7, 8.5], id=7)))
    assert given.frames == {2: [Box(1, 2, 3, 4, 0.5, 7)], 0: [Box(5, 6, 7, 8.5, 1.0, 7)]}
    assert given.with_ids and given.last_frame() == 2


def test_csv_with_its_columns_in_any_order():
    given = parse_csv("id,frame,h,w,y,x\n3,0,4,3,2,1\n4,0,8,7,6,5\n")
    assert given.frames == {0: [Box(1, 2, 3, 4, 1.0, 3), Box(5, 6, 7, 8, 1.0, 4)]}


def test_csv_without_ids():
    assert not parse_csv("frame,x,y,w,h,score\n0,1,2,3,4,0.25\n").with_ids


def test_the_end_of_the_name_says_the_form(tmp_path):
    (tmp_path / "b.CSV").write_text("\ufefframe,x,y,w,h\n0,1,2,3,4\n".replace("\ufefframe", "frame"))
    (tmp_path / "b.json").write_text("\ufeff" + document(frame(0, [1, 2, 3, 4])), encoding="utf-8")
    assert read_boxes(tmp_path / "b.CSV").frames == read_boxes(tmp_path / "b.json").frames


@pytest.mark.parametrize(("text", "words"), [
    ("", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "apiVersion"),
    (document(kind="Boxes"), "PoseBoxes"),
    (document(frames={}), 'no list "frames"'),
    (document({"index": 1}), "frames[0]"),
    (document(frame(-1, [1, 2, 3, 4])), "frame index"),
    (document(frame(1.5, [1, 2, 3, 4])), "frame index"),
    (document(frame(True, [1, 2, 3, 4])), "frame index"),
    (document(frame(10**400, [1, 2, 3, 4])), "frame index"),
    (document(frame(4, [1, 2, 3, 4]), frame(4)), "frame 4 twice"),
    (document(frame(4, [1, 2, 3])), "frame 4"),
    (document(frame(4, [1, 2, "3", 4])), "frame 4"),
    (document(frame(4, [1, 2, 0, 4])), "width 0 and height 4"),
    (document(frame(4, [1, 2, 3, 4], score=1.5)), "score 1.5"),
    (document(frame(4, [1, 2, 3, 4], id=0)), "id 0"),
    (document(frame(4, [1, 2, 3, 4], [5, 6, 7, 8], id=2)), "two boxes with the same id"),
    (document(frame(4, [1, 2, 3, 4], id=2), frame(5, [1, 2, 3, 4])), "1 of 2 boxes have an id"),
    (document(frame(4, [1, 2, 3, float("nan")])), "NaN"),
    (document(frame(4, *[[1, 2, 3, 4]] * 1001)), "frame 4: more than 1000"),
])
def test_refused_json(text, words):
    with pytest.raises(EngineError) as refused:
        parse_json(text)
    assert refused.value.failure is Failure.BOXES_INVALID
    assert words in refused.value.message


@pytest.mark.parametrize(("text", "words"), [
    ("", "first line"),
    ("frame,x,y,w\n", "first line"),
    ("frame,x,y,w,h,h\n", "first line"),
    ("frame,x,y,w,h,colour\n", "first line"),
    ("frame,x,y,w,h\n0,1,2,3\n", "line 2"),
    ("frame,x,y,w,h\n0,1,2,3,4,5\n", "line 2"),
    ("frame,x,y,w,h\n0,1,2,3,4\nzero,1,2,3,4\n", "line 3"),
    ("frame,x,y,w,h\n0,1,2,3,inf\n", "finite"),
    ('frame,x,y,w,h\n0,1,2,3,"4\n', "not CSV"),
    ("frame,x,y,w,h,id\n0,1,2,3,4,\n0,1,2,3,4,5\n", "1 of 2 boxes have an id"),
])
def test_refused_csv(text, words):
    with pytest.raises(EngineError) as refused:
        parse_csv(text)
    assert refused.value.failure is Failure.BOXES_INVALID
    assert words in refused.value.message


def test_a_pickle_is_never_read(tmp_path):
    (tmp_path / "boxes.pkl").write_bytes(pickle.dumps({"frames": [b"\xff\xfe"]}))
    with pytest.raises(EngineError, match="a pickle is never read"):
        read_boxes(tmp_path / "boxes.pkl")


def test_a_file_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(boxes, "MOST_BYTES", 10)
    (tmp_path / "b.json").write_text(document(frame(0, [1, 2, 3, 4])))
    with pytest.raises(EngineError, match="more than"):
        read_boxes(tmp_path / "b.json")


def test_a_box_over_the_edge_is_cut_there():
    box = Box(-10, 200, 50, 100, 1, None)
    boxes.check_fit(boxes.Boxes({0: [box]}, False), 1, 320, 240)
    assert boxes.corners(box, 320, 240) == (0, 200, 40, 240)


@pytest.mark.parametrize("bbox", [(320, 0, 5, 5), (0, 240, 5, 5), (-5, 0, 5, 5), (0, -5, 5, 5), (0, 0, 961, 5)])
def test_a_box_that_cannot_be_in_the_picture(bbox):
    with pytest.raises(EngineError, match="frame 3"):
        boxes.check_fit(boxes.Boxes({3: [Box(*bbox, 1, None)]}, False), 4, 320, 240)
