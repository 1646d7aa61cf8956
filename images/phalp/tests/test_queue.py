"""Many videos in one process: `run --clips -` against the stand-ins. Against the real ones: hack/phalp-upstream."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path

import clip_queue
import pytest
from clip_queue import Queue, same_files
from harness import HERE, environment, phalp, walkers

SETTLED, CLIPS = 20, 100
RUN = [sys.executable, str(HERE / "standin_run.py"), "run", "--clips", "-"]


def open_queue(home: Path, *options: str, device: str = "cpu", how=None, **more: str) -> Queue:
    return Queue.start([*RUN, "--device", device, *options], env=environment(home, **more), **(how or {}))


@pytest.fixture
def queue(home):
    made = open_queue(home)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another size and length; its people are too small to be found, unless boxes are given."""
    return walkers(tmp_path_factory.mktemp("video") / "other.avi", 9, size=(400, 200), body=(30, 60))


def boxes_file(folder: Path) -> Path:
    path = folder / "boxes.csv"
    path.write_text("frame,x,y,w,h,id\n" + "".join(f"{i},10,20,30,40,7\n{i},100,20,30,40,3\n" for i in range(9)))
    return path


def test_the_protocol_is_the_same_in_all_engines():
    assert clip_queue.differing_copies(Path(__file__).resolve().parents[2]) == []


def test_models_are_loaded_once_and_each_clip_is_as_if_alone(two_people, other, queue, home, tmp_path):
    """A, B, A: nothing of one clip is in another, whatever its size, and the second A is the first."""
    facts = {"startFrame": 5, "captureFPS": 50, "focalLengthPx": 900, "maxPeople": 1}
    said = [queue.ask(7, two_people, tmp_path / "a"), queue.ask(8, other, tmp_path / "b"),
            queue.ask(9, two_people, tmp_path / "a2", **facts), queue.ask(10, two_people, tmp_path / "a3")]
    assert queue.end() == 0
    assert [(a.clip, a.text) for a in said] == [("7", "result frames=20 people=2"), ("8", "result frames=9 people=0"),
                                                ("9", "result frames=20 people=1"), ("10", "result frames=20 people=2")]
    assert queue.stages() == ["start", "detector_load", "model_load"] + 4 * ["track", "write"] + ["done"]
    assert queue.lines.index("pose-engine: ready") < queue.lines.index("pose-engine: clip=7 begin")
    options = ["--source-start", "5", "--capture-fps", "50", "--focal-length-px", "900", "--max-people", "1"]
    alone = {"a": phalp(two_people, tmp_path / "one", home).folder, "b": phalp(other, tmp_path / "two", home).folder,
             "a2": phalp(two_people, tmp_path / "three", home, *options).folder, "a3": tmp_path / "one"}
    for name, folder in alone.items():
        assert same_files(folder, tmp_path / name), name


def test_settings_for_given_boxes_end_with_their_clip(other, queue, home, tmp_path):
    """With boxes everybody counts and their ids hold; the next clip's small people are filtered as ever, and numbered anew."""
    given = boxes_file(tmp_path)
    assert queue.ask(1, other, tmp_path / "given", boxes=str(given)).text == "result frames=9 people=2"
    assert queue.ask(2, other, tmp_path / "found").text == "result frames=9 people=0"
    assert queue.end() == 0
    assert same_files(phalp(other, tmp_path / "one", home, "--boxes", str(given)).folder, tmp_path / "given")
    assert same_files(phalp(other, tmp_path / "two", home).folder, tmp_path / "found")
    assert json.loads((tmp_path / "found/pose.json").read_text())["quality"]["peopleFiltered"] == 2


def test_without_a_detector_every_clip_needs_boxes(other, home, tmp_path):
    queue = open_queue(home, "--detector", "none")
    said = queue.ask(1, other, tmp_path / "o")
    assert said.code == "USAGE" and "give boxes" in said.text
    assert queue.ask(2, other, tmp_path / "o", boxes=str(boxes_file(tmp_path))).code is None
    assert queue.end() == 0
    assert "detector_load" not in queue.stages()


def test_an_overlay_that_cannot_be_drawn_is_said_of_its_clip_alone(other, queue, tmp_path):
    assert queue.ask(1, other, tmp_path / "o", overlay="blurred").code is None
    assert queue.ask(2, other, tmp_path / "p").code is None
    assert queue.end() == 0
    warned = [k for k, line in enumerate(queue.lines) if "code=OVERLAY_UNAVAILABLE" in line]
    assert len(warned) == 1 and queue.lines.index("pose-engine: clip=1 begin") < warned[0]


def test_a_bad_clip_costs_itself_alone(two_people, queue, tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    (tmp_path / "boxes.csv").write_text("frame,x,y,w,h\n20,10,20,30,40\n")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(two_people.read_bytes()[: two_people.stat().st_size * 6 // 10])
    queue.send(b"no clip at all\n\n" + b"x" * 100_000 + b"\n")
    assert [(a.clip, a.code) for a in (queue.answer(), queue.answer())] == [("unknown", "USAGE")] * 2
    asked = [queue.ask(0, tmp_path / "none.mp4", tmp_path / "o"), queue.ask(1, tmp_path / "text.mp4", tmp_path / "o"),
             queue.ask(2, cut, tmp_path / "o"), queue.ask(3, walkers(tmp_path / "empty.avi", 0), tmp_path / "o"),
             queue.ask(4, two_people, tmp_path / "o", boxes=str(tmp_path / "boxes.csv")),
             queue.ask(5, two_people, tmp_path / "o", outputDir=str(tmp_path / "absent")),
             queue.ask(6, two_people, tmp_path / "o", detector="none")]
    assert [a.code for a in asked[:3]] == ["INPUT_UNREADABLE"] * 3
    assert asked[3].code in ("INPUT_UNREADABLE", "NO_FRAMES")
    assert [a.code for a in asked[4:]] == ["BOXES_INVALID", "OUTPUT_NOT_WRITABLE", "USAGE"]
    assert list((tmp_path / "o").iterdir()) == []
    assert queue.ask(7, two_people, tmp_path / "o").text == "result frames=20 people=2"
    assert queue.end() == 0


def test_a_clip_that_finds_no_space_costs_itself_alone(two_people, home, tmp_path):
    """A file size limit stands in for a full disk."""
    queue = open_queue(home, how={"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))})
    assert queue.ask(1, two_people, tmp_path / "o").code == "OUTPUT_NOT_WRITABLE"
    assert list((tmp_path / "o").iterdir()) == []
    assert queue.ask(2, walkers(tmp_path / "empty.avi", 1, people=0), tmp_path / "o").code is None
    assert queue.end() == 0


def test_whoever_reads_stdin_eats_no_clip(two_people, home, tmp_path):
    """The stand-in reads it in each clip's fourth frame, itself and by a program that it starts."""
    queue = open_queue(home, STANDIN_FAULT="stdin")
    for number in range(3):
        queue.put(number, two_people, tmp_path / "o")
    assert [queue.answer().clip for _ in range(3)] == ["0", "1", "2"]
    assert queue.end() == 0


@pytest.mark.parametrize(("fault", "code", "name"), [("raise", 70, "INTERNAL"), ("gpu_memory", 10, "GPU_OUT_OF_MEMORY"),
                                                     ("memory", 13, "HOST_OUT_OF_MEMORY")])
def test_what_makes_the_process_unfit_ends_it(fault, code, name, two_people, home, tmp_path):
    """The stand-in breaks in a clip's fourth frame, which the first clip has not."""
    queue = open_queue(home, STANDIN_FAULT=fault)
    assert queue.ask(1, walkers(tmp_path / "short.avi", 3), tmp_path / "o").code is None
    queue.put(2, two_people, tmp_path / "p")
    queue.put(3, two_people, tmp_path / "q")
    last = queue.wait_for("error code=")
    assert re.fullmatch(rf'pose-engine: error code={name} message="clip=2: [^"]+"', last), last
    assert queue.process.wait(60) == code
    assert not any("clip=3" in line or "stage=done" in line for line in queue.lines)
    assert list((tmp_path / "p").iterdir()) == []


def test_a_missing_weight_file_ends_it_before_it_is_ready(tmp_path):
    queue = open_queue(tmp_path)
    queue.wait_for("error code=WEIGHTS_MISSING")
    assert queue.process.wait(60) == 8
    assert "pose-engine: ready" not in queue.lines


def test_on_a_gpu_memory_is_given_back_before_each_clip(other, home, tmp_path):
    queue = open_queue(home, device="gpu", STANDIN_GPU="1")
    for number in range(3):
        assert queue.ask(number, other, tmp_path / "o").code is None
    assert queue.end() == 0
    assert queue.lines.count("torch gives memory back") == 3


@pytest.mark.parametrize("options", [["--video", "/v.mp4"], ["--overlay", "none"], ["--boxes", "/b"], ["--frame-stride", "0"],
                                     ["--clips", "clips.txt"]])
def test_options_of_a_clip_do_not_go_with_a_queue(options, home):
    queue = open_queue(home, *options)
    queue.wait_for("error code=USAGE")
    assert queue.process.wait(60) == 2


def test_options_of_the_process_hold_for_every_clip(two_people, home, tmp_path):
    queue = open_queue(home, "--frame-stride", "2", "--keep-pickle", "--set", "phalp.n_init=2")
    for name in ("a", "b"):
        assert queue.ask(1, two_people, tmp_path / name).code is None
    assert queue.end() == 0
    options = ["--frame-stride", "2", "--keep-pickle", "--set", "phalp.n_init=2"]
    alone = phalp(two_people, tmp_path / "alone", home, *options).folder
    assert (alone / "phalp.pkl").exists()
    assert same_files(alone, tmp_path / "a") and same_files(alone, tmp_path / "b")


@pytest.mark.parametrize("at", ["waiting", "working"])
def test_told_to_stop_it_ends_at_once(at, two_people, home, tmp_path):
    queue = open_queue(home, STANDIN_FAULT="sleep")
    queue.wait_for("ready")
    if at == "working":
        queue.put(1, two_people, tmp_path / "o")
        queue.wait_for("stage=track")
        time.sleep(0.2)  # into the fourth frame, where the stand-in sleeps for two minutes
    queue.process.send_signal(signal.SIGTERM)
    assert queue.process.wait(30) == 143
    assert at == "waiting" or list((tmp_path / "o").iterdir()) == []


def test_without_its_parent_it_ends_in_the_middle_of_a_clip(two_people, home, tmp_path):
    (tmp_path / "o").mkdir()
    line = b'{"clip": 1, "video": "%s", "outputDir": "%s"}\n' % (bytes(two_people), bytes(tmp_path / "o"))
    env = environment(home, STANDIN_FAULT="sleep")
    assert clip_queue.ends_without_its_parent([*RUN, "--device", "cpu"], env, line, "stage=track", 60)
    assert list((tmp_path / "o").iterdir()) == []


def test_many_clips_leave_nothing(two_people, other, queue, tmp_path):
    """Two sizes in turn, every seventh one broken off: neither memory nor descriptors grow."""
    cut = tmp_path / "cut.avi"
    cut.write_bytes(two_people.read_bytes()[: two_people.stat().st_size * 6 // 10])
    for number in range(CLIPS):
        video = cut if number % 7 == 0 else (two_people, other)[number % 2]
        assert (queue.ask(number, video, tmp_path / "o").code is None) == (video != cut)
        if number == SETTLED:
            memory, files = queue.resident(), queue.files()
    print(f"KiB after clip {SETTLED}: {memory}, after clip {CLIPS}: {queue.resident()}")
    assert queue.files() == files
    assert queue.resident() - memory < 8 << 10
    assert queue.end() == 0
    assert os.listdir(tmp_path / "o") == [] or (CLIPS - 1) % 7 != 0
