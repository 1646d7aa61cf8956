"""Many videos in one process: `--clips -` as the operator uses it. Where poses mean something the model is a stand-in."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import stand_ins
from clip_queue import Queue, same_files
from conftest import SOURCES, engine, ffmpeg, red_square_video

SETTLED, CLIPS = 20, 60


def open_queue(*options: object, **how) -> Queue:
    command = [sys.executable, "-m", "pose_onnx", "--clips", "-", *map(str, options)]
    return Queue.start(command, env=os.environ | {"PYTHONPATH": str(SOURCES)}, **how)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    path = tmp_path_factory.mktemp("finder") / "red.onnx"
    onnx.save(stand_ins.red_finder(), path)
    return path


@pytest.fixture
def queue(finder):
    made = open_queue("--family", "yolo-pose", "--model", finder)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return red_square_video(folder / "a.mkv", 12), red_square_video(folder / "b.mkv", 7, "400x301", step=9)


def test_models_are_loaded_once_and_each_clip_is_as_if_alone(finder, videos, queue, tmp_path):
    """A, B, A: nothing of one clip is in another, whatever its size, and the second A is the first."""
    said = [queue.ask(7, videos[0], tmp_path / "a"),
            queue.ask(8, videos[1], tmp_path / "b", startFrame=100, captureFPS=240, overlay="blurred"),
            queue.ask(9, videos[0], tmp_path / "a2")]
    assert queue.end() == 0
    assert [(a.clip, a.text) for a in said] == [("7", "result frames=12 people=1"), ("8", "result frames=7 people=1"),
                                                ("9", "result frames=12 people=1")]
    assert queue.stages() == ["start", "model_load"] + 3 * ["track", "write"] + ["done"]
    assert queue.lines.index("pose-engine: ready") < queue.lines.index("pose-engine: clip=7 begin")
    model = ["--family", "yolo-pose", "--model", finder]
    one = engine(videos[0], tmp_path / "one", *model, "--overlay", "none")
    two = engine(videos[1], tmp_path / "two", *model, "--source-start", 100, "--capture-fps", 240)
    assert same_files(one.folder, tmp_path / "a") and same_files(one.folder, tmp_path / "a2")
    assert same_files(two.folder, tmp_path / "b")
    assert [p["id"] for p in json.loads((tmp_path / "a2/pose.json").read_text())["people"]] == [1]


@pytest.mark.parametrize("detector", ["yolox", "rtmdet"])
def test_given_boxes_and_a_detector_in_turn(detector, zoo, testcard, tmp_path):
    """Real architectures with random weights: only that both ways are those of a run alone is asked."""
    (tmp_path / "boxes.json").write_text(json.dumps({"kind": "PoseBoxes", "frames": [
        {"index": n, "boxes": [{"bbox": [10, 10, 60, 150], "id": 5}]} for n in range(8)]}))
    model = ["--family", "rtmpose", "--model", zoo / "rtmpose.onnx", "--detector", zoo / f"{detector}.onnx", "--detector-family", detector]
    queue = open_queue(*model)
    assert queue.ask(1, testcard, tmp_path / "found").code is None
    assert queue.ask(2, testcard, tmp_path / "given", boxes=str(tmp_path / "boxes.json")).code is None
    assert queue.ask(3, testcard, tmp_path / "again").code is None
    assert queue.end() == 0
    found = engine(testcard, tmp_path / "one", *model, "--overlay", "none")
    given = engine(testcard, tmp_path / "two", *model[:4], "--boxes", tmp_path / "boxes.json", "--overlay", "none")
    assert same_files(found.folder, tmp_path / "found") and same_files(found.folder, tmp_path / "again")
    assert same_files(given.folder, tmp_path / "given")
    assert sum("code=RANDOM_WEIGHTS" in line for line in queue.lines) == 2


def test_a_bad_clip_costs_itself_alone(videos, queue, tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    queue.send(b"no clip at all\n\n" + b"x" * 100_000 + b"\n")
    assert [(a.clip, a.code) for a in (queue.answer(), queue.answer())] == [("unknown", "USAGE")] * 2
    asked = [queue.ask(0, tmp_path / "none.mp4", tmp_path / "o"), queue.ask(1, tmp_path / "text.mp4", tmp_path / "o"),
             queue.ask(2, videos[0], tmp_path / "o", outputDir=str(tmp_path / "absent")),
             queue.ask(3, videos[0], tmp_path / "o", threads=3),
             queue.ask(4, videos[0], tmp_path / "o", boxes=str(tmp_path / "boxes.json"))]
    assert [(a.clip, a.code) for a in asked] == [("0", "INPUT_UNREADABLE"), ("1", "INPUT_UNREADABLE"), ("2", "OUTPUT_NOT_WRITABLE"),
                                                 ("3", "USAGE"), ("4", "USAGE")]
    assert queue.ask(5, videos[0], tmp_path / "o").text == "result frames=12 people=1"
    assert queue.end() == 0


def test_without_a_detector_every_clip_needs_boxes(zoo, testcard, tmp_path):
    queue = open_queue("--family", "rtmpose", "--model", zoo / "rtmpose.onnx")
    said = queue.ask(1, testcard, tmp_path / "o")
    assert said.code == "USAGE" and "give boxes" in said.text
    (tmp_path / "boxes.json").write_text("{}")
    assert queue.ask(2, testcard, tmp_path / "o", boxes=str(tmp_path / "boxes.json")).code == "BOXES_INVALID"
    assert queue.end() == 0


def test_a_model_that_fails_in_a_clip_ends_the_queue(videos, tmp_path):
    """Red makes this model reshape to nothing: whatever follows, nobody could trust it."""
    model = stand_ins.red_finder()
    g = onnx.helper
    # The last reshape's size depends on the picture: 1 x 56 x N while all is black, an impossible one as soon as something is red.
    nodes, name = model.graph.node, model.graph.output[0].name
    nodes[-1].output[0] = "plain"
    model.graph.initializer.extend([onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half"),
                                    onnx.numpy_helper.from_array(np.array([1, 56, -1], np.int64), "shape")])
    nodes.extend([g.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
                  g.make_node("Greater", ["brightest", "half"], ["any"]),
                  g.make_node("Cast", ["any"], ["bad"], to=onnx.TensorProto.INT64),
                  g.make_node("Add", ["shape", "bad"], ["asked"]), g.make_node("Reshape", ["plain", "asked"], [name])])
    onnx.save(model, tmp_path / "red.onnx")
    queue = open_queue("--family", "yolo-pose", "--model", tmp_path / "red.onnx")
    queue.put(4, videos[0], tmp_path / "o")
    queue.put(5, videos[0], tmp_path / "p")
    last = queue.wait_for("error code=")
    assert re.fullmatch(r'pose-engine: error code=MODEL_UNREADABLE message="clip=4: ONNX Runtime cannot run model [^"]*"', last), last
    assert queue.process.wait(60) == 6, "\n".join(queue.lines)
    assert not any("clip=5" in line for line in queue.lines)
    assert list((tmp_path / "o").iterdir()) == []


def test_a_model_that_cannot_be_used_ends_it_before_it_is_ready(tmp_path):
    queue = open_queue("--family", "yolo-pose", "--model", tmp_path / "absent.onnx")
    queue.wait_for("error code=MODEL_UNREADABLE")
    assert queue.process.wait(60) == 6
    assert "pose-engine: ready" not in queue.lines


@pytest.mark.parametrize("options", [["--video", "/v.mp4"], ["--overlay", "none"], ["--boxes", "/b"], ["--threads", "-1"],
                                     ["--detector", "d.onnx"], ["--clips", "clips.txt"]])
def test_options_of_a_clip_do_not_go_with_a_queue(options, finder):
    queue = open_queue("--family", "yolo-pose", "--model", finder, *options)
    queue.wait_for("error code=USAGE")
    assert queue.process.wait(60) == 2


def test_without_stdin_there_is_no_queue(finder):
    queue = open_queue("--family", "yolo-pose", "--model", finder, preexec_fn=lambda: os.close(0))
    queue.wait_for("error code=USAGE .*stdin")
    assert queue.process.wait(60) == 2


def test_told_to_stop_it_ends_while_it_waits(queue):
    queue.wait_for("ready")
    queue.process.send_signal(signal.SIGTERM)
    assert queue.process.wait(60) == 143


def test_told_to_stop_it_ends_in_the_middle_of_a_clip(queue, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=60", "-preset", "ultrafast", str(tmp_path / "long.mp4"))
    queue.put(1, tmp_path / "long.mp4", tmp_path / "o")
    queue.wait_for("frame=")
    queue.process.send_signal(signal.SIGTERM)
    assert queue.process.wait(60) == 143
    assert list((tmp_path / "o").iterdir()) == []


def test_many_clips_leave_nothing(queue, tmp_path):
    """Two sizes in turn, every seventh one unreadable: neither memory nor descriptors grow."""
    for name, size in (("a", "320x240"), ("b", "96x130")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=size={size}:rate=5:duration=0.4", "-c:v", "ffv1", str(tmp_path / f"{name}.mkv"))
    Path(tmp_path / "c.mkv").write_bytes((tmp_path / "a.mkv").read_bytes()[:500])
    for number in range(CLIPS):
        name = "c" if number % 7 == 0 else "ab"[number % 2]
        assert (queue.ask(number, tmp_path / f"{name}.mkv", tmp_path / "o").code is None) == (name != "c")
        if number == SETTLED:
            memory, files = queue.resident(), queue.files()
    print(f"KiB after clip {SETTLED}: {memory}, after clip {CLIPS}: {queue.resident()}")
    assert queue.files() == files
    assert queue.resident() - memory < 8 << 10
    assert queue.end() == 0
