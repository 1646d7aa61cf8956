"""Files with given boxes are somebody else's: every fault has a message that names the place."""

import json

import pytest

from pose_mediapipe.boxes import GivenBox, read_boxes
from pose_mediapipe.errors import EngineError, Failure

HEAD = '{"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes","frames":'


def read(tmp_path, text):
    path = tmp_path / "boxes"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_boxes(path, 200, 100)


def entry(index=0, **box):
    return {"index": index, "boxes": [{"bbox": [1, 2, 30, 40]} | box]}


def as_json(*frames):
    return HEAD + json.dumps(frames) + "}"


def test_json(tmp_path):
    text = as_json(entry(3, score=0.5, id=7), entry(1, id=7), {"index": 9, "boxes": []})
    assert read(tmp_path, text) == {3: [GivenBox(1, 2, 30, 40, 0.5, 7)], 1: [GivenBox(1, 2, 30, 40, None, 7)]}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path, end):
    text = end.join(["\ufeffframe,x,y,w,h,score,id", "3,1,2,30,40,0.5,7", "", "3,-5,0.5,10,20,1,8"])
    assert read(tmp_path, text) == {3: [GivenBox(1, 2, 30, 40, 0.5, 7), GivenBox(-5, 0.5, 10, 20, 1, 8)]}


def test_no_boxes_at_all(tmp_path):
    assert read(tmp_path, HEAD + "[]}") == {}
    assert read(tmp_path, "frame,x,y,w,h\n") == {}


@pytest.mark.parametrize(("text", "says"), [
    ("", "must name the columns"),
    ("frame,x,y,w\n1,2,3,4", "must name the columns"),
    ("frame,x,y,w,h,colour\n1,2,3,4,5,6", "must name the columns"),
    ("frame,x,y,w,h,x\n1,2,3,4,5,6", "must name the columns"),
    ("frame,x,y,w,h\n1,2,3,4", "line 2 has 4 cells"),
    ("frame,x,y,w,h\n1,2,3,4,five", "line 2, h"),
    ("frame,x,y,w,h\n1.5,2,3,4,5", "line 2, frame must be a whole number"),
    ("frame,x,y,w,h\n-1,2,3,4,5", "line 2, frame must be a whole number"),
    ("frame,x,y,w,h\n1e99,2,3,4,5", "line 2, frame must be a whole number"),
    ("frame,x,y,w,h\n1,nan,3,4,5", "finite"),
    ("frame,x,y,w,h\n1,2,3,inf,5", "finite"),
    ("frame,x,y,w,h\n1,2,3,0,5", "a width and a height above 0"),
    ("frame,x,y,w,h\n1,2,3,601,5", "at most three times"),
    ("frame,x,y,w,h\n1,200,3,10,5", "outside of the 200x100 picture"),
    ("frame,x,y,w,h,id\n1,2,3,4,5,1\n1,9,3,4,5,1", "id 1 occurs twice in frame 1"),
    ("frame,x,y,w,h,score\n1,2,3,4,5,1.5", "a score lies between 0 and 1"),
    ("{", "not JSON"),
    ("{}", "apiVersion"),
    (HEAD + "{}}", "the file has no list named frames"),
    (HEAD + "[3]}", "frames[0].index"),
    (HEAD + '[{"index":true,"boxes":[]}]}', "frames[0].index"),
    (HEAD + '[{"index":0}]}', "frames[0] has no list named boxes"),
    (HEAD + '[{"index":0,"boxes":[{"bbox":[1,2,3]}]}]}', "four numbers"),
    (HEAD + '[{"index":0,"boxes":[{"bbox":[1,2,3,"4"]}]}]}', "finite numbers"),
    (HEAD + '[{"index":0,"boxes":[{"bbox":[1,2,3,NaN]}]}]}', "finite numbers"),
    (HEAD + '[{"index":0,"boxes":[]},{"index":0,"boxes":[]}]}', "frame 0 has an entry already"),
    (as_json(entry(0, id=1), entry(1)), "an id to every box, or to none"),
    (as_json(entry(0, id=2**31)), "id must be a whole number"),
    ("[" * 100_000, "must name the columns"),
    ('{"a":' + "[" * 200_000, "boxes"),
    (b"\xff\xfe\x00frame", "neither JSON nor CSV"),
])
def test_faults_are_named(tmp_path, text, says):
    with pytest.raises(EngineError) as caught:
        read(tmp_path, text)
    assert caught.value.failure is Failure.BOXES_INVALID
    assert says in caught.value.message and "\n" not in caught.value.message


def test_too_many_in_a_frame(tmp_path):
    rows = "\n".join("1,2,3,4,5" for _ in range(1001))
    with pytest.raises(EngineError, match="more than 1000 boxes in frame 1"):
        read(tmp_path, "frame,x,y,w,h\n" + rows)


def test_missing_file(tmp_path):
    with pytest.raises(EngineError, match="cannot read the boxes"):
        read_boxes(tmp_path / "none", 10, 10)
