"""The command as users run it. Where poses mean something the model is a stand-in that finds red things; the real
architectures have random weights, and what is asked of them is a valid result, nothing more."""

from __future__ import annotations

import json
import re
import subprocess

import cv2
import jsonschema
import onnx
import pytest
import rules
import stand_ins
from conftest import engine, ffmpeg, red_square_video

YOLO = ["start", "model_load", "track", "write", "done"]
RTMPOSE = ["start", "model_load", "detector_load", "track", "write", "done"]


def result_of(outcome, stages):
    """The parsed result of a successful run, checked against the schema and every rule."""
    assert outcome.code == 0, outcome.err
    assert outcome.stages == stages
    result = rules.load(outcome.folder / "pose.json")
    jsonschema.validate(result, json.loads(rules.SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert rules.broken(result) == []
    assert not list(outcome.folder.glob(".*")), "temporary files are left"
    return result


def assert_fails(outcome, code, name, words=""):
    assert outcome.code == code, outcome.err
    assert re.search(rf'^pose-engine: error code={name} message="[^"\n]*{words}[^"\n]*"$', outcome.err, re.MULTILINE), outcome.err
    assert not (outcome.folder / "pose.json").exists()
    assert "stage=done" not in outcome.out


# --- known pictures, stand-in models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    return red_square_video(tmp_path_factory.mktemp("square") / "square.mkv", 12)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    path = tmp_path_factory.mktemp("finder") / "red.onnx"
    onnx.save(stand_ins.red_finder(), path)
    return path


@pytest.fixture(scope="module")
def found(square, finder, tmp_path_factory):
    """YOLO-pose's whole path, run once."""
    return engine(square, tmp_path_factory.mktemp("found") / "out", "--family", "yolo-pose", "--model", finder,
                  "--source-start", 100, "--capture-fps", 240)


def test_one_person_is_followed_where_it_is(found):
    result = result_of(found, YOLO)
    assert [p | {"id": 1} for p in result["people"]] == [{"id": 1, "firstFrame": 0, "lastFrame": 11, "framesSeen": 12}]
    for n, frame in enumerate(result["frames"]):
        (person,) = frame["people"]
        x, y, w, h = person["bbox"]
        # Cells are 8 pixels of the model and 10 of the video apart, and two of them may see all of the square.
        assert (x + w / 2, y + h / 2) == pytest.approx((52 + 4 * n, 112), abs=10.1)
        assert (w, h) == pytest.approx((30, 30), abs=0.2)
        first, last = person["joints2d"][0], person["joints2d"][16]
        assert (first[0] - 0.5, first[1] - 0.5) == pytest.approx((x + w / 2, y + h / 2), abs=0.2)
        assert last[0] - first[0] == pytest.approx(20, abs=0.2)
        assert first[2] == 0.75


def test_facts_of_the_result(found):
    result = result_of(found, YOLO)
    assert result["video"] == {"width": 320, "height": 240, "fps": 10, "frames": 12, "startFrame": 100, "durationSeconds": 1.2,
                               "captureFPS": 240}
    assert (result["engine"]["name"], result["engine"]["device"]) == ("yolo-pose", "CPU")
    assert result["quality"] == {"coverage": 1, "gaps": 0, "idSwitchesSuspected": 0, "peopleFiltered": 0,
                                 "peopleNotSelected": 0}
    assert "joints3d" not in result["units"]


def test_log_lines_are_those_documented(found):
    line = re.compile(r"pose-engine: (stage=[a-z_]+|frame=\d+ total=\d+ people=\d+|written=\d+ total=\d+"
                      r"|result frames=\d+ people=\d+)")
    assert all(line.fullmatch(text) for text in found.out.splitlines()), found.out
    assert "pose-engine: frame=12 total=12 people=1" in found.out


def test_overlays(found, square, finder, tmp_path):
    capture = cv2.VideoCapture(str(found.folder / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    none = engine(square, tmp_path / "out", "--family", "yolo-pose", "--model", finder, "--overlay", "none")
    assert [p.name for p in none.folder.iterdir()] == ["pose.json"]


def test_joints_of_given_boxes_are_exact(square, tmp_path):
    """RTMPose's path: crop, model, SimCC, back to the frame; the square's middle is the joint."""
    onnx.save(stand_ins.red_pose(), tmp_path / "pose.onnx")
    frames = [{"index": n, "boxes": [{"bbox": [10 + 4 * n, 40, 100, 150], "id": 5}]} for n in range(12)]
    frames += [{"index": 40, "boxes": [{"bbox": [0, 0, 5, 5], "id": 5}]}]
    (tmp_path / "boxes.json").write_text(json.dumps({"apiVersion": "pose.dev/v1alpha1", "kind": "PoseBoxes", "frames": frames}))
    outcome = engine(square, tmp_path / "out", "--family", "rtmpose", "--model", tmp_path / "pose.onnx", "--boxes",
                     tmp_path / "boxes.json", "--overlay", "none")
    result = result_of(outcome, YOLO)  # no detector is loaded
    assert [p["id"] for p in result["people"]] == [5]
    for n, frame in enumerate(result["frames"]):
        # The first of equal maxima is the left edge of what 15 averaged pixels cannot tell apart.
        x, y, sure = frame["people"][0]["joints2d"][0]
        assert 40 + 4 * n <= x <= 64 + 4 * n and 100 <= y <= 124, (n, x, y)
        assert sure > 0.5
    assert "warning code=BOXES_BEYOND_END frames=1" in outcome.out


def test_a_single_red_pixel_is_found_where_it_is(tmp_path):
    video = tmp_path / "dot.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=black:size=160x120:rate=10:duration=0.3", "-vf",
           "drawbox=x=70:y=50:w=7:h=7:color=red:t=fill,format=gbrp", "-c:v", "ffv1", str(video))
    onnx.save(stand_ins.red_pose(), tmp_path / "pose.onnx")
    # A box whose crop has one input pixel for each of the video's, so that the model's 15 pixel mean peaks in one place.
    box = {"bbox": [73.5 - 76.8, 53.5 - 102.4, 153.6, 204.8], "id": 1}
    frames = [{"index": n, "boxes": [box]} for n in range(3)]
    (tmp_path / "boxes.json").write_text(json.dumps({"kind": "PoseBoxes", "frames": frames}))
    result = result_of(engine(video, tmp_path / "out", "--family", "rtmpose", "--model", tmp_path / "pose.onnx", "--boxes",
                              tmp_path / "boxes.json", "--overlay", "none"), YOLO)
    x, y, _ = result["frames"][1]["people"][0]["joints2d"][0]
    assert 66 <= x <= 73.6 and 46 <= y <= 53.6


# --- real architectures, random weights: staged -----------------------------------------------------------------------


@pytest.mark.parametrize("model", ["yolo", "yolo-final"])
def test_yolo_pose_of_random_weights_gives_a_valid_result(model, zoo, testcard, tmp_path):
    outcome = engine(testcard, tmp_path / "out", "--family", "yolo-pose", "--model", zoo / f"{model}.onnx")
    result = result_of(outcome, YOLO)
    assert len(result["frames"]) == 8
    assert result["people"], "random weights of this seed see something"
    assert result["engine"]["name"] == "yolo-pose (staged: random weights)"
    assert f'warning code=RANDOM_WEIGHTS model="{model}.onnx"' in outcome.out


@pytest.mark.parametrize(("model", "joints", "detector"), [("rtmpose", 17, "yolox"), ("rtmpose-133-one", 133, "rtmdet")])
def test_rtmpose_of_random_weights_gives_a_valid_result(model, joints, detector, zoo, testcard, tmp_path):
    outcome = engine(testcard, tmp_path / "out", "--family", "rtmpose", "--model", zoo / f"{model}.onnx", "--detector",
                     zoo / f"{detector}.onnx", "--detector-family", detector, "--overlay", "blurred", "--max-people", 2)
    result = result_of(outcome, RTMPOSE)
    assert 1 <= len(result["people"]) <= 2
    assert len(result["skeleton"]["joints"]) == joints
    assert [m["name"] for m in result["engine"]["models"]] == [f"{model}.onnx", f"{detector}.onnx"]


def test_threads_do_not_change_the_result(zoo, testcard, tmp_path):
    one, two = (rules.load(engine(testcard, tmp_path / n, "--family", "yolo-pose", "--model", zoo / "yolo.onnx", "--overlay", "none",
                                  "--threads", n).folder / "pose.json") for n in ("1", "2"))
    assert [[p["id"] for p in f["people"]] for f in one["frames"]] == [[p["id"] for p in f["people"]] for f in two["frames"]]


# --- what cannot work -------------------------------------------------------------------------------------------------


def yolo(video, tmp_path, model, *more):
    return engine(video, tmp_path / "out", "--family", "yolo-pose", "--model", model, *more)


def test_blank_video_is_a_result_without_people(finder, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=gray:size=321x241:rate=10:duration=0.5", str(tmp_path / "blank.mp4"))
    assert result_of(yolo(tmp_path / "blank.mp4", tmp_path, finder), YOLO)["people"] == []


@pytest.mark.parametrize("size", [(3, 1), (31, 201)])
def test_odd_sizes_of_one_frame(size, finder, tmp_path):
    video = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc=size={size[0]}x{size[1]}:rate=5", "-frames:v", "1", "-c:v", "ffv1", str(video))
    result = result_of(yolo(video, tmp_path, finder), YOLO)
    assert (result["video"]["width"], result["video"]["height"], len(result["frames"])) == (*size, 1)


def test_video_that_breaks_off_gives_the_frames_there_are(square, finder, tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", str(square), "-g", "2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(whole))
    cut.write_bytes(whole.read_bytes()[:int(whole.stat().st_size * 0.7)])
    outcome = yolo(cut, tmp_path, finder, "--overlay", "none")
    frames = len(result_of(outcome, YOLO)["frames"])
    assert 1 <= frames < 12
    assert f"warning code=INPUT_SHORT decoded={frames} declared=" in outcome.out


def test_model_for_other_joints_names_both_shapes(zoo, testcard, tmp_path):
    assert_fails(yolo(testcard, tmp_path, zoo / "yolo-5-joints.onnx"), 6, "MODEL_UNREADABLE",
                 r"expected a first output \(1, 56, N\) or \(1, M, 57\).*found \(1, 20, 84\)")


def test_wrong_family_names_both_shapes(zoo, testcard, tmp_path):
    outcome = engine(testcard, tmp_path / "out", "--family", "rtmpose", "--model", zoo / "rtmdet.onnx", "--detector",
                     zoo / "rtmpose.onnx", "--detector-family", "rtmdet")
    assert_fails(outcome, 6, "MODEL_UNREADABLE", r"expected outputs dets \(1, N, 5\).*found \(1, 17, 384\), \(1, 17, 512\)")


def test_missing_model(testcard, tmp_path):
    outcome = yolo(testcard, tmp_path, tmp_path / "absent.onnx")
    assert_fails(outcome, 6, "MODEL_UNREADABLE", "absent.onnx is missing")
    assert outcome.stages == ["start", "model_load"]


def test_model_of_another_task(testcard, tmp_path):
    model = stand_ins.red_finder(64)
    model.metadata_props[[p.key for p in model.metadata_props].index("task")].value = "detect"
    onnx.save(model, tmp_path / "m.onnx")
    assert_fails(yolo(testcard, tmp_path, tmp_path / "m.onnx"), 6, "MODEL_UNREADABLE", "task 'detect'")


def test_text_is_not_a_video(finder, tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    assert_fails(yolo(tmp_path / "text.mp4", tmp_path, finder), 3, "INPUT_UNREADABLE")


def test_playlist_that_names_other_files_is_refused(finder, testcard, tmp_path):
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{testcard}\n#EXT-X-ENDLIST\n")
    assert_fails(yolo(tmp_path / "list.mp4", tmp_path, finder), 3, "INPUT_UNREADABLE")


def test_output_folder_must_exist(finder, testcard, tmp_path):
    assert_fails(yolo(testcard, tmp_path, finder, "--output-dir", tmp_path / "absent"), 5, "OUTPUT_NOT_WRITABLE")


def test_gpu_is_not_silently_a_cpu(finder, testcard, tmp_path):
    assert_fails(yolo(testcard, tmp_path, finder, "--device", "gpu"), 9, "GPU_UNAVAILABLE", "has no CUDA")


def test_bad_boxes(zoo, testcard, tmp_path):
    (tmp_path / "boxes.json").write_text("{}")
    outcome = engine(testcard, tmp_path / "out", "--family", "rtmpose", "--model", zoo / "rtmpose.onnx", "--boxes",
                     tmp_path / "boxes.json")
    assert_fails(outcome, 7, "BOXES_INVALID")


@pytest.mark.parametrize("options", [["--overlay", "naked"], ["--max-people", "-1"], ["--unknown"], ["--boxes", "b.json"],
                                     ["--family", "rtmpose"], ["--capture-fps", "nan"], ["--focal-length-px", "-1"]])
def test_wrong_use(options, finder, testcard, tmp_path):
    assert_fails(yolo(testcard, tmp_path, finder, *options), 2, "USAGE")


def test_sigterm_ends_it(finder, square, tmp_path):
    """A long video, stopped while it is being tracked."""
    import sys

    from conftest import SOURCES
    video = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=20", "-preset", "ultrafast", str(video))
    process = subprocess.Popen([sys.executable, "-m", "pose_onnx", "--family", "yolo-pose", "--model", finder, "--video", video,
                                "--output-dir", tmp_path], env={"PYTHONPATH": str(SOURCES), "PATH": "/usr/bin:/bin"},
                               stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "frame=" in line:
            process.terminate()
            break
    process.stdout.read()
    assert process.wait(timeout=20) == 143
    assert not (tmp_path / "pose.json").exists()
