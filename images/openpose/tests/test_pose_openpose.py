"""The adapter as the operator runs it, on a stand-in for OpenPose that writes its documented format."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import pytest
import rules

from pose_openpose import mp4, people, quality, skeleton, track
from pose_openpose.people import Person
from pose_openpose.program import MODEL_FILES
from pose_openpose.report import EngineError, Failure

HERE = Path(__file__).resolve().parent
ADAPTER = HERE.parent / "src" / "pose-openpose"
STAND_IN = HERE / "stand_in_openpose.py"
# The oldest Python that the adapter promises, where there is one; else the one that runs the tests.
PYTHON = os.environ.get("POSE_TEST_PYTHON") or sys.executable


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "video.mp4", "size=320x240:rate=10:duration=1.2")


def make_video(path, source, *more):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=" + source, "-pix_fmt", "yuv420p", *more, str(path)],
                   check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture
def image(tmp_path):
    """A working directory as an image of OpenPose has it."""
    root = tmp_path / "openpose"
    program = root / "build/examples/openpose/openpose.bin"
    program.parent.mkdir(parents=True)
    shutil.copy(STAND_IN, program)
    for name in MODEL_FILES:
        (root / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "models" / name).write_bytes(b"stand-in")
    (tmp_path / "out").mkdir()
    return root


def run(image, video, *options, mode="ok", frames=12):
    scratch = image.parent / "tmp"
    scratch.mkdir(exist_ok=True)
    env = dict(os.environ, STAND_IN_MODE=mode, STAND_IN_FRAMES=str(frames), TMPDIR=str(scratch))
    command = [PYTHON, str(ADAPTER), "run", "--video", str(video), "--output-dir", str(image.parent / "out"), *options]
    done = subprocess.run(command, cwd=image, env=env, capture_output=True, text=True, check=False)
    assert not list(scratch.iterdir()), "files of OpenPose are left"
    return done


def result_of(done, image):
    assert done.returncode == 0, done.stderr
    result = rules.load(image.parent / "out" / "pose.json")
    jsonschema.validate(result, json.loads(rules.SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert rules.broken(result) == []
    return result


def assert_fails(done, image, code, name, words=""):
    assert done.returncode == code, done.stderr
    assert re.search(rf'^pose-engine: error code={name} message="[^"\n]*{words}[^"\n]*"$', done.stderr, re.MULTILINE), done.stderr
    assert not (image.parent / "out" / "pose.json").exists()


def test_two_people_who_pass_each_other(image, video):
    done = run(image, video, "--source-start", "7", "--capture-fps", "120", "--device", "cpu")
    result = result_of(done, image)
    assert result["video"] == {"width": 320, "height": 240, "fps": 10, "frames": 12, "startFrame": 7, "durationSeconds": 1.2, "captureFPS": 120}
    assert (result["engine"]["name"], result["engine"]["device"], len(result["engine"]["models"])) == ("openpose", "CPU", 2)
    assert [(p["firstFrame"], p["lastFrame"], p["framesSeen"]) for p in result["people"]] == [(0, 11, 12), (0, 11, 10)]
    for n, frame in enumerate(result["frames"]):
        left, right = frame["people"]
        assert left["joints2d"][0][:2] == pytest.approx([260 - 8 * n, 60])
        assert right["joints2d"][0][:2] == pytest.approx([20 + 8 * n, 50])
        assert right.get("observed", True) == (n not in (5, 6))
    assert result["quality"] == {"coverage": 1, "gaps": 1, "idSwitchesSuspected": 0, "peopleFiltered": 0,
                                 "peopleNotSelected": 0}


def test_joint_that_was_not_found_is_a_guess_and_says_so(image, video):
    person = result_of(run(image, video), image)["frames"][0]["people"][0]
    nose, eye = person["joints2d"][0], person["joints2d"][skeleton.JOINTS.index("right_eye")]
    assert eye == [nose[0], nose[1], 0]
    assert nose[2] == 0.8


def test_log_is_the_one_documented(image, video):
    lines = run(image, video).stdout.splitlines()
    assert [line for line in lines if not line.startswith("pose-engine:")] == ["Starting OpenPose demo..."]
    ours = [line[len("pose-engine: "):] for line in lines if line.startswith("pose-engine:")]
    assert [line for line in ours if line.startswith("stage=")] == ["stage=start", "stage=model_load", "stage=track", "stage=write", "stage=done"]
    assert "frame=12 total=12 people=0" in ours and "result frames=12 people=2" in ours


def test_files_go_as_soon_as_they_are_read(image, video):
    """So that a long video does not fill the disk."""
    assert len(result_of(run(image, video, mode="polite", frames=4), image)["frames"]) == 4


def test_the_nearest_and_longest_seen_is_kept(image, video):
    assert [p["framesSeen"] for p in result_of(run(image, video, "--max-people", "1"), image)["people"]] == [12]


def test_short_output_is_said(image, video):
    done = run(image, video, frames=8)
    assert len(result_of(done, image)["frames"]) == 8
    assert "warning code=INPUT_SHORT decoded=8 declared=12" in done.stdout


def test_overlay_is_refused_with_a_word(image, video):
    assert "warning code=OVERLAY_UNAVAILABLE" in run(image, video, "--overlay", "blurred").stdout


@pytest.mark.parametrize(("mode", "number"), [("crash", signal.SIGSEGV), ("load-crash", signal.SIGABRT)])
def test_crash_of_openpose_is_a_crash(image, video, mode, number):
    assert_fails(run(image, video, mode=mode), image, -number, "OPENPOSE_FAILED", signal.Signals(number).name)


@pytest.mark.parametrize(("mode", "code", "name", "words"), [
    ("exit", 14, "OPENPOSE_FAILED", "exit code 1"), ("gap", 12, "RESULT_INVALID", "frame 3"),
    ("not-json", 12, "RESULT_INVALID", "no JSON"), ("coco", 12, "RESULT_INVALID", "75 numbers of BODY_25, found 54")])
def test_what_openpose_can_do_wrong(image, video, mode, code, name, words):
    assert_fails(run(image, video, mode=mode), image, code, name, words)


def test_openpose_without_a_word(image, video):
    assert_fails(run(image, video, frames=0), image, 4, "NO_FRAMES")


def test_missing_program_and_missing_model(image, video):
    assert_fails(run(image, video, "--openpose", "./absent"), image, 11, "IMAGE_UNSUITABLE", "--openpose")
    (image / "models" / MODEL_FILES[1]).unlink()
    assert_fails(run(image, video), image, 6, "MODEL_UNREADABLE", "pose_iter_584000.caffemodel")


@pytest.mark.parametrize("options", [["--max-people", "-1"], ["--net-resolution", "--write_video"], ["--unknown"], ["--capture-fps", "nan"]])
def test_wrong_use(image, video, options):
    assert_fails(run(image, video, *options), image, 2, "USAGE")


def test_output_folder_must_exist(image, video):
    assert_fails(run(image, video, "--output-dir", str(image / "absent")), image, 5, "OUTPUT_NOT_WRITABLE")


def test_sigterm_ends_both(image, video):
    with tempfile.TemporaryDirectory() as scratch:
        process = subprocess.Popen([PYTHON, str(ADAPTER), "run", "--video", str(video), "--output-dir", str(image.parent / "out")],
                                   cwd=image, env=dict(os.environ, STAND_IN_MODE="hang", TMPDIR=scratch), stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if "stage=track" in line:
                process.terminate()
                break
        assert process.wait(timeout=30) == 143
        deadline = time.monotonic() + 30
        while list(Path(scratch).iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list(Path(scratch).iterdir())
        children = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
        assert scratch not in children


# --- video ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "more", "wanted"), [
    ("size=64x48:rate=30000/1001:duration=2", (), (64, 48, 29.97, 60)),
    ("size=48x64:rate=5:duration=1", ("-movflags", "+faststart"), (48, 64, 5, 5)),
    ("size=64x48:rate=25:duration=1", ("-f", "lavfi", "-i", "sine=duration=1"), (64, 48, 25, 25)),
])
def test_facts_of_videos(tmp_path, source, more, wanted):
    path = tmp_path / "v.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=" + source, *more, "-pix_fmt", "yuv420p", str(path)],
                   check=True, stdin=subprocess.DEVNULL)
    info = mp4.probe(path)
    assert (info.width, info.height, round(info.fps, 2), info.frames) == wanted


@pytest.mark.parametrize("spoil", [lambda b: b[:40], lambda b: b[:len(b) // 2], lambda b: b"text" * 100, lambda b: b"",
                                   lambda b: b.replace(b"stts", b"sttx"), lambda b: b.replace(b"vide", b"soun"),
                                   lambda b: b.replace(b"mdia", b"mdix")])
def test_broken_videos(tmp_path, video, spoil):
    path = tmp_path / "v.mp4"
    path.write_bytes(spoil(video.read_bytes()))
    with pytest.raises(EngineError) as caught:
        mp4.probe(path)
    assert caught.value.failure is Failure.INPUT_UNREADABLE


def test_every_cut_and_every_spoilt_byte_is_an_error_or_harmless(tmp_path, video):
    content = video.read_bytes()
    at = content.index(b"moov")
    path = tmp_path / "v.mp4"
    for k in range(at - 4, len(content), 7):
        for spoilt in (content[:k], content[:k] + b"\xff" + content[k + 1:]):
            path.write_bytes(spoilt)
            try:
                mp4.probe(path)
            except EngineError:
                pass


# --- people and tracks ------------------------------------------------------------------------------------------------


def parsed(numbers):
    return people.parse_people("f.json", json.dumps({"people": [{"pose_keypoints_2d": numbers}]}).encode(), 320, 240)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff", b'{"people": {}}', b'{"people": [7]}', b"[" * 100_000,
                                     b'{"people": [{"pose_keypoints_2d": [1, 2]}]}',
                                     b'{"people": [{"pose_keypoints_2d": [' + b",".join([b"NaN"] * 75) + b"]}]}",
                                     b'{"people": [{"pose_keypoints_2d": [' + b",".join([b'"1"'] * 75) + b"]}]}",
                                     b'{"people": [' + b",".join([b"{}"] * 1001) + b"]}"])
def test_files_of_other_forms_are_refused(content):
    with pytest.raises(EngineError) as caught:
        people.parse_people("f.json", content, 320, 240)
    assert caught.value.failure is Failure.RESULT_INVALID


def test_file_that_is_too_large(monkeypatch):
    monkeypatch.setattr(people, "MAX_BYTES", 10)
    with pytest.raises(EngineError, match="larger"):
        people.parse_people("f.json", b" " * 11, 320, 240)


def test_people_of_too_few_joints_and_beyond_the_picture_are_left_out():
    assert parsed([10, 20, 0.9] * 3 + [0] * 66) == []
    assert parsed([value for k in range(25) for value in (900 + k, 20 + k, 0.9)]) == []
    assert len(parsed([value for k in range(25) for value in (300 + k, 20 + k, 0.9)])) == 1


def test_wild_numbers_stay_within_the_rules():
    (person,) = parsed([value for k in range(25) for value in (1e9 * (k - 12), -1e12 if k == 3 else 20 + k, 7)])
    assert all(-640 <= x <= 960 and -480 <= y <= 720 and 0 <= v <= 1 for x, y, v in person.joints)
    assert person.box[2] <= 960 and person.box[3] <= 720


def walker(x, h=100):
    return Person((x, 50, 40, h), 0.9, [(x + k % 4 * 10, 50 + k * h / 25, 0.9) for k in range(25)])


def play(frames):
    tracker = track.Tracker(10)
    for people_of_frame in frames:
        tracker.update(people_of_frame)
    return tracker.tracks


def test_hidden_person_comes_back_as_the_same():
    assert len(play([[walker(10 + 5 * t)] if t < 6 or t > 11 else [] for t in range(20)])) == 1


def test_hidden_for_too_long_is_somebody_new():
    assert len(play([[walker(10)] if t < 6 or t > 30 else [] for t in range(40)])) == 2


def test_another_size_is_another_person():
    assert len(play([[walker(10)]] * 4 + [[walker(10, 200)]])) == 2


def test_two_who_pass_keep_their_tracks():
    one, two = play([[walker(10 + 9 * t), walker(200 - 9 * t)] for t in range(20)])
    assert list(one.boxes[::4]) == [10 + 9 * t for t in range(20)]
    assert list(two.boxes[::4]) == [200 - 9 * t for t in range(20)]


def test_who_ends_where_another_begins_and_exchanged_ids_are_suspected():
    before, after = play([[walker(10)]] * 4), play([[]] * 8 + [[walker(30)]] * 4)
    assert quality.hand_overs(before + after, 10) == 1
    assert quality.hand_overs(before + play([[]] * 8 + [[walker(200)]] * 4), 10) == 0
    here, there = play([[walker(10), walker(200)]] * 2)
    assert quality.swaps([here, there]) == 0
    here.boxes[4:], there.boxes[4:] = there.boxes[4:], here.boxes[4:]
    assert quality.swaps([here, there]) == 1


@pytest.mark.parametrize("path", sorted(HERE.parent.glob("src/**/*.py")) + [ADAPTER], ids=lambda p: p.name)
def test_sources_are_python_3_6(path):
    ast.parse(path.read_text(), feature_version=(3, 6))
