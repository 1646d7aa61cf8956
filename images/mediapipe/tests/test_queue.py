"""Many videos in one process: `--clips -` as the operator uses it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import clip_queue
import pytest
from clip_queue import Queue, same_files
from conftest import SOURCES, engine, ffmpeg

SETTLED, CLIPS = 20, 60  # short clips after which the allocator has what it needs, and all of them
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(SOURCES))


def open_queue(*options: str, **how) -> Queue:
    return Queue.start([sys.executable, "-m", "pose_mediapipe", "--clips", "-", *options], env=ENVIRONMENT, **how)


@pytest.fixture
def queue():
    made = open_queue()
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def videos(pedestrians, tmp_path_factory):
    """Two pieces of the street that differ in size, rate and length."""
    folder = tmp_path_factory.mktemp("clips")
    ffmpeg("-i", str(pedestrians), "-frames:v", "12", "-c:v", "ffv1", str(folder / "a.mkv"))
    ffmpeg("-ss", "20", "-i", str(pedestrians), "-frames:v", "7", "-vf", "scale=321:241", "-r", "25", "-c:v", "ffv1",
           str(folder / "b.mkv"))
    return folder / "a.mkv", folder / "b.mkv"


def test_the_protocol_is_the_same_in_all_engines():
    assert clip_queue.differing_copies(Path(__file__).resolve().parents[2]) == []


def test_models_are_loaded_once_and_each_clip_is_as_if_alone(videos, queue, tmp_path):
    """A, B, A: nothing of one clip is in another, whatever its size and rate, and the second A is the first."""
    facts = {"startFrame": 5, "captureFPS": 50, "focalLengthPx": 900, "maxPeople": 2, "overlay": "blurred"}
    said = [queue.ask(7, videos[0], tmp_path / "a"), queue.ask(8, videos[1], tmp_path / "b", **facts),
            queue.ask(9, videos[0], tmp_path / "a2")]
    assert queue.end() == 0
    assert [(a.clip, a.code) for a in said] == [("7", None), ("8", None), ("9", None)]
    assert queue.stages() == ["start", "model_load", "detector_load"] + 3 * ["track", "write"] + ["done"]
    assert queue.lines.index("pose-engine: ready") < queue.lines.index("pose-engine: clip=7 begin")
    options = ["--source-start", "5", "--capture-fps", "50", "--focal-length-px", "900", "--max-people", "2"]
    alone = [engine(videos[0], tmp_path / "one", "--overlay", "none"), engine(videos[1], tmp_path / "two", *options)]
    assert "people=0" not in said[0].text
    assert said[0].text.removeprefix("result ") in alone[0].out
    for outcome, folder in zip([*alone, alone[0]], ("a", "b", "a2")):
        assert same_files(outcome.folder, tmp_path / folder), folder


def test_boxes_are_looked_at_without_searching(videos, queue, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("frame,x,y,w,h,id\n" + "".join(f"{i},486,163,29,76,0\n" for i in range(14)))
    assert queue.ask(1, videos[0], tmp_path / "given", boxes=str(boxes)).code is None
    assert queue.ask(2, videos[0], tmp_path / "found").code is None
    assert queue.end() == 0
    assert same_files(engine(videos[0], tmp_path / "one", "--overlay", "none", "--boxes", str(boxes)).folder, tmp_path / "given")
    assert same_files(engine(videos[0], tmp_path / "two", "--overlay", "none").folder, tmp_path / "found")


def test_a_bad_clip_costs_itself_alone(videos, queue, tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    (tmp_path / "boxes.json").write_text('{"frames": 3}')
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "sound.mp4"))
    asked = [queue.ask(0, tmp_path / "none.mp4", tmp_path / "o"), queue.ask(1, tmp_path / "text.mp4", tmp_path / "o"),
             queue.ask(2, tmp_path / "sound.mp4", tmp_path / "o"),
             queue.ask(3, videos[0], tmp_path / "o", boxes=str(tmp_path / "boxes.json")),
             queue.ask(4, videos[0], tmp_path / "o", outputDir=str(tmp_path / "absent")),
             queue.ask(5, videos[0], tmp_path / "o", threads=3)]
    assert [a.code for a in asked] == ["INPUT_UNREADABLE"] * 3 + ["BOXES_INVALID", "OUTPUT_NOT_WRITABLE", "USAGE"]
    assert list((tmp_path / "o").iterdir()) == []
    assert queue.ask(6, videos[0], tmp_path / "o").code is None
    assert queue.end() == 0


def test_a_clip_that_finds_no_space_costs_itself_alone(videos, tmp_path):
    """A file size limit stands in for a full disk."""
    queue = open_queue(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert queue.ask(1, videos[0], tmp_path / "o").code == "OUTPUT_NOT_WRITABLE"
    assert not list((tmp_path / "o").glob(".*")) and not (tmp_path / "o" / "pose.json").exists()
    ffmpeg("-f", "lavfi", "-i", "color=gray:size=64x64:rate=5:duration=0.4", str(tmp_path / "blank.mp4"))
    assert queue.ask(2, tmp_path / "blank.mp4", tmp_path / "p").code is None
    assert queue.end() == 0


def test_missing_models_end_the_queue_before_it_is_ready(tmp_path):
    env = ENVIRONMENT | {"POSE_MODELS_DIR": str(tmp_path)}
    queue = Queue.start([sys.executable, "-m", "pose_mediapipe", "--clips", "-"], env=env)
    queue.wait_for("error code=MODEL_UNREADABLE")
    assert queue.process.wait(60) == 6
    assert "pose-engine: ready" not in queue.lines


def test_an_empty_queue_is_a_success(queue):
    queue.wait_for("ready")
    assert queue.end() == 0
    assert queue.lines[-1] == "pose-engine: stage=done"


@pytest.mark.parametrize("options", [["--video", "/v.mp4"], ["--overlay", "none"], ["--frames", "0:5"], ["--threads", "-1"]])
def test_options_of_a_clip_do_not_go_with_a_queue(options):
    queue = open_queue(*options)
    queue.wait_for("error code=USAGE")
    assert queue.process.wait(60) == 2


def long_clip(folder: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=640x480:rate=25:duration=60", "-preset", "ultrafast", str(folder / "long.mp4"))
    return folder / "long.mp4"


def test_told_to_stop_it_ends_in_the_middle_of_a_clip(queue, tmp_path):
    queue.put(1, long_clip(tmp_path), tmp_path / "o")
    queue.wait_for("frame=")
    queue.process.send_signal(signal.SIGTERM)
    assert queue.process.wait(60) == 143
    assert list((tmp_path / "o").iterdir()) == []


def test_without_its_parent_it_ends_in_the_middle_of_a_clip(tmp_path):
    (tmp_path / "o").mkdir()
    line = b'{"clip": 1, "video": "%s", "outputDir": "%s"}\n' % (bytes(long_clip(tmp_path)), bytes(tmp_path / "o"))
    assert clip_queue.ends_without_its_parent([sys.executable, "-m", "pose_mediapipe", "--clips", "-"], ENVIRONMENT, line, "frame=", 60)
    assert list((tmp_path / "o").iterdir()) == []


def test_many_clips_leave_nothing(queue, tmp_path):
    """Two sizes in turn: neither memory nor descriptors grow."""
    for name, size in (("a", "320x240"), ("b", "96x130")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=size={size}:rate=5:duration=0.4", "-c:v", "ffv1", str(tmp_path / f"{name}.mkv"))
    for number in range(CLIPS):
        assert queue.ask(number, tmp_path / f"{'ab'[number % 2]}.mkv", tmp_path / "o").code is None
        if number == SETTLED:
            memory, files = queue.resident(), queue.files()
    print(f"KiB after clip {SETTLED}: {memory}, after clip {CLIPS}: {queue.resident()}")
    assert queue.files() == files
    assert queue.resident() - memory < 8 << 10
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["contact-sheet.png", "pose.json"]
    assert queue.end() == 0
