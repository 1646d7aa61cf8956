"""The command as users run it: real video, real models, real files."""

from __future__ import annotations

import json
import re
import shutil

import cv2
import jsonschema
import numpy as np
import pytest
import rules
from conftest import engine, ffmpeg, probe_size

from pose_mediapipe import skeleton
from pose_mediapipe.decode import FrameRange, probe, read_frames
from pose_mediapipe.overlay import sheet_frames

STAGES = ["start", "model_load", "detector_load", "track", "write", "done"]


def result_of(outcome):
    """The parsed result of a successful run, checked against the schema and every rule."""
    assert outcome.code == 0, outcome.err
    assert outcome.stages == STAGES
    result = rules.load(outcome.folder / "pose.json")
    jsonschema.validate(result, json.loads(rules.SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert rules.broken(result) == []
    assert not list(outcome.folder.glob(".*")), "temporary files are left"
    return result


def assert_fails(outcome, code, name):
    assert outcome.code == code
    assert re.search(rf'^pose-engine: error code={name} message="[^"\n]+"$', outcome.err, re.MULTILINE), outcome.err
    assert not (outcome.folder / "pose.json").exists()
    assert "stage=done" not in outcome.out


# --- people on a street ---------------------------------------------------------------------------------------------

# Left, top, width, height of people in the picture, read off by eye, in frames of the pedestrian video. People who are
# partly hidden or cut off by the rim are left out of this list, but may be found.
BY_EYE = {
    5: [(486, 163, 29, 76), (590, 241, 55, 85)],
    25: [(373, 188, 27, 84), (654, 260, 40, 105), (693, 257, 36, 99)],
    35: [(378, 179, 18, 79), (598, 242, 41, 100), (636, 240, 32, 97)],
}


def test_every_frame_has_an_entry_and_the_facts_are_right(street):
    result = result_of(street)
    assert result["video"] == {"width": 768, "height": 576, "fps": 10.0, "frames": 40, "startFrame": 0, "durationSeconds": 4.0}
    assert result["skeleton"]["joints"] == list(skeleton.JOINTS)
    assert [m["name"] for m in result["engine"]["models"]] == ["pose_detection.tflite", "pose_landmark_full.tflite"]


def test_several_people_are_followed_for_long(street):
    result = result_of(street)
    steady = [p for p in result["people"] if p["framesSeen"] >= 18]
    assert 4 <= len(steady) <= 6, result["people"]
    assert len(result["people"]) <= 8
    assert sum(len(f["people"]) for f in result["frames"]) >= 110


def test_tracks_move_like_people(street):
    """A track that jumps has been given to somebody else."""
    result = result_of(street)
    last: dict[int, tuple[float, float]] = {}
    for frame in result["frames"]:
        for person in frame["people"]:
            x, y, w, h = person["bbox"]
            here = (x + w / 2, y + h / 2)
            if person["id"] in last:
                before = last[person["id"]]
                assert abs(here[0] - before[0]) < 30 and abs(here[1] - before[1]) < 30, (frame["index"], person["id"])
            last[person["id"]] = here


def test_bodies_have_the_size_of_people(street):
    """Legs are some 0.6 to 1 m from hip to ankle, and the hips are the origin."""
    result = result_of(street)
    index = {name: k for k, name in enumerate(result["skeleton"]["joints"])}
    people = [p["joints3d"] for f in result["frames"] for p in f["people"]]
    legs = sorted(sum((a - b) ** 2 for a, b in zip(p[index["left_hip"]], p[index["left_ankle"]])) ** 0.5 for p in people)
    assert 0.55 < legs[len(legs) // 2] < 1.0
    assert all(abs(p[23][k] + p[24][k]) / 2 < 0.05 for p in people for k in range(3))
    assert all(p[index["nose"]][1] < p[index["left_ankle"]][1] for p in people), "y points down"


def test_people_are_where_the_eye_sees_them(street):
    result = result_of(street)
    for number, boxes in BY_EYE.items():
        found = [p["bbox"] for p in result["frames"][number]["people"]]
        for box in boxes:
            assert any(_overlap(box, other) > 0.35 for other in found), (number, box, found)  # some are 20 pixels wide


def _overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def test_log_lines_are_those_documented(street):
    line = re.compile(r"pose-engine: (stage=[a-z_]+|frame=\d+ total=\d+ people=\d+|written=\d+ total=\d+"
                      r"|result frames=\d+ people=\d+)")
    assert all(line.fullmatch(text) for text in street.out.splitlines()), street.out
    assert "pose-engine: frame=40 total=40 people=" in street.out


def test_pictures_are_complete(street):
    assert probe_size(street.folder / "overlay.mp4") == "768x576"
    capture = cv2.VideoCapture(str(street.folder / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 40
    sheet = cv2.imread(str(street.folder / "contact-sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] / 2 > 400


def test_heads_are_hidden_in_a_blurred_overlay(street, pedestrians, tmp_path):
    """Where a head is, the fine detail of the full overlay is gone from the blurred one."""
    result = result_of(street)
    full = engine(pedestrians, tmp_path / "full", "--frames", "0:40", "--overlay", "full")
    assert result_of(full)["people"] == result["people"]
    nose = result["frames"][5]["people"][0]["joints2d"][0]
    x, y = round(nose[0]), round(nose[1])
    hidden, shown = (_frame(o.folder / "overlay.mp4", 5)[y - 12:y + 12, x - 12:x + 12] for o in (street, full))
    assert cv2.absdiff(hidden, shown).max() > 40
    away = _frame(street.folder / "overlay.mp4", 5)[500:560, 600:700], _frame(full.folder / "overlay.mp4", 5)[500:560, 600:700]
    assert cv2.absdiff(*away).mean() < 3


def _frame(path, number):
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, number)
    return capture.read()[1]


def test_no_picture_of_the_video_without_an_overlay(pedestrians, tmp_path):
    outcome = engine(pedestrians, tmp_path / "out", "--frames", "10:22", "--overlay", "none", "--source-start", "100")
    result = result_of(outcome)
    assert (result["video"]["startFrame"], result["video"]["frames"]) == (110, 12)
    assert not (outcome.folder / "overlay.mp4").exists()
    sheet = cv2.imread(str(outcome.folder / "contact-sheet.png"))
    assert (sheet == (48, 42, 40)).all(axis=2).mean() > 0.8, "the sheet shows more than skeletons"


def test_threads_do_not_change_the_result(street, pedestrians, tmp_path):
    one = engine(pedestrians, tmp_path / "one", "--frames", "0:40", "--overlay", "none", "--threads", "1")
    assert result_of(one)["frames"] == result_of(street)["frames"]


# --- videos of other kinds ------------------------------------------------------------------------------------------


def test_blank_video_is_a_result_without_people(tmp_path):
    video = tmp_path / "blank.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=gray:size=320x240:rate=10:duration=1.5", str(video))
    outcome = engine(video, tmp_path / "out")
    result = result_of(outcome)
    assert len(result["frames"]) == 15
    assert result["people"] == [] and all(f["people"] == [] for f in result["frames"])
    assert (outcome.folder / "overlay.mp4").exists() and (outcome.folder / "contact-sheet.png").exists()


def test_nobody_is_made_of_vans_and_lamp_posts(pedestrians, tmp_path):
    """The street with everybody taken away: the median of many frames, with the noise of a camera."""
    frames = read_frames(pedestrians, probe(pedestrians), FrameRange())
    street = np.median(np.stack([f for k, f in enumerate(frames) if k % 25 == 0]), axis=0)
    noise = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(tmp_path / "empty.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (768, 576))
    for _ in range(16):
        writer.write((street + noise.normal(0, 2, street.shape)).clip(0, 255).astype(np.uint8))
    writer.release()
    result = result_of(engine(tmp_path / "empty.avi", tmp_path / "out", "--overlay", "none"))
    assert result["people"] == []


@pytest.mark.parametrize("size", [(321, 241), (96, 17), (30, 200), (3, 1)])
def test_odd_sizes(size, tmp_path):
    video = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc=size={size[0]}x{size[1]}:rate=5:duration=1", "-c:v", "ffv1", str(video))
    outcome = engine(video, tmp_path / "out")
    result = result_of(outcome)
    assert (result["video"]["width"], result["video"]["height"]) == size
    assert probe_size(outcome.folder / "overlay.mp4") == f"{size[0] + size[0] % 2}x{size[1] + size[1] % 2}"


def test_one_frame_is_enough(pedestrians, tmp_path):
    result = result_of(engine(pedestrians, tmp_path / "out", "--frames", "5:6"))
    assert result["video"]["frames"] == 1
    assert len(result["people"]) >= 3


def test_phone_video_held_upright_is_read_upright(pedestrians, tmp_path):
    """The pixels are stored lying on their side, with a note to turn them, as phones do."""
    lying, video = tmp_path / "lying.mp4", tmp_path / "phone.mp4"
    ffmpeg("-i", str(pedestrians), "-frames:v", "9", "-vf", "transpose=clock", "-crf", "16", str(lying))
    ffmpeg("-i", str(lying), "-c", "copy", "-metadata:s:v", "rotate=90", str(video))
    assert probe_size(video) == "576x768"
    result = result_of(engine(video, tmp_path / "out", "--overlay", "none"))
    assert (result["video"]["width"], result["video"]["height"]) == (768, 576)
    found = [p["bbox"] for p in result["frames"][5]["people"]]
    assert all(any(_overlap(box, other) > 0.4 for other in found) for box in BY_EYE[5])


def test_video_that_breaks_off_gives_the_frames_there_are(pedestrians, tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", str(pedestrians), "-frames:v", "30", "-g", "5", "-movflags", "+faststart", str(whole))
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    outcome = engine(cut, tmp_path / "out", "--overlay", "none")
    result = result_of(outcome)
    assert 5 <= result["video"]["frames"] < 30
    assert f"warning code=INPUT_SHORT decoded={result['video']['frames']} declared=" in outcome.out


# --- people whose boxes are given ------------------------------------------------------------------------------------


def boxes_file(folder, ids=False):
    """The boxes that were read off by eye, frames 25 and 35, as CSV."""
    rows = [f"{frame},{x},{y},{w},{h}" + (f",{40 + k}" if ids else "")
            for frame in (25, 35) for k, (x, y, w, h) in enumerate(BY_EYE[frame])]
    path = folder / "boxes.csv"
    path.write_text("\n".join(["frame,x,y,w,h" + (",id" if ids else ""), *rows]))
    return path


def test_given_boxes_and_ids_are_kept(pedestrians, tmp_path):
    given = boxes_file(tmp_path, ids=True)
    outcome = engine(pedestrians, tmp_path / "out", "--frames", "25:36", "--boxes", str(given), "--capture-fps", "20",
                     "--focal-length-px", "900", "--overlay", "none")
    assert outcome.code == 0, outcome.err
    assert outcome.stages == [s for s in STAGES if s != "detector_load"]
    result = rules.load(outcome.folder / "pose.json")
    jsonschema.validate(result, json.loads(rules.SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert rules.broken(result) == []
    assert [(p["id"], p["firstFrame"], p["lastFrame"]) for p in result["people"]] == [(40, 0, 10), (41, 0, 10), (42, 0, 10)]
    assert [p["bbox"] for p in result["frames"][0]["people"]] == [list(b) for b in BY_EYE[25]]
    joints = [p["joints2d"] for p in result["frames"][0]["people"]]
    assert all(x - 8 <= mean[0] <= x + w + 8 and y <= mean[1] <= y + h for (x, y, w, h), mean in
               zip(BY_EYE[25], ([sum(v) / len(v) for v in zip(*j)] for j in joints)))
    assert result["video"]["captureFPS"] == 20 and result["camera"]["focalLengthPx"] == 900
    assert [m["name"] for m in result["engine"]["models"]] == ["pose_landmark_full.tflite"]


def test_boxes_of_frames_that_are_not_there(pedestrians, tmp_path):
    video = tmp_path / "short.mkv"
    ffmpeg("-i", str(pedestrians), "-frames:v", "30", "-c:v", "ffv1", str(video))
    outcome = engine(video, tmp_path / "out", "--boxes", str(boxes_file(tmp_path)), "--overlay", "none")
    assert outcome.code == 0, outcome.err
    assert "pose-engine: warning code=BOXES_BEYOND_END frames=1" in outcome.out
    assert len(rules.load(outcome.folder / "pose.json")["people"]) == 3


def test_broken_boxes(pedestrians, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text('{"frames": 3}')
    outcome = engine(pedestrians, tmp_path / "out", "--boxes", str(path))
    assert_fails(outcome, 7, "BOXES_INVALID")
    assert_fails(engine(pedestrians, tmp_path / "out2", "--boxes", str(tmp_path / "none.csv")), 7, "BOXES_INVALID")


def test_only_as_many_people_as_asked_for(pedestrians, street, tmp_path):
    few = result_of(engine(pedestrians, tmp_path / "out", "--frames", "0:40", "--max-people", "2", "--overlay", "none"))
    everybody = result_of(street)
    assert len(few["people"]) == 2
    assert few["quality"]["peopleNotSelected"] == len(everybody["people"]) - 2
    heights = lambda result: sorted(sum(p["bbox"][3] for f in result["frames"] for p in f["people"]  # noqa: E731
                                        if p["id"] == entry["id"] and p.get("observed", True)) for entry in result["people"])
    assert heights(few) == heights(everybody)[-2:]


# --- what cannot work -----------------------------------------------------------------------------------------------


def test_text_is_not_a_video(tmp_path):
    video = tmp_path / "text.mp4"
    video.write_text("this is no video\n" * 100)
    assert_fails(engine(video, tmp_path / "out"), 3, "INPUT_UNREADABLE")


def test_video_without_its_index(pedestrians, tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-i", str(pedestrians), "-frames:v", "10", str(whole))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert_fails(engine(cut, tmp_path / "out"), 3, "INPUT_UNREADABLE")


def test_missing_video(tmp_path):
    assert_fails(engine(tmp_path / "none.mp4", tmp_path / "out"), 3, "INPUT_UNREADABLE")


def test_sound_alone_is_not_a_video(tmp_path):
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(sound))
    assert_fails(engine(sound, tmp_path / "out"), 3, "INPUT_UNREADABLE")


def test_range_beyond_the_end(pedestrians, tmp_path):
    assert_fails(engine(pedestrians, tmp_path / "out", "--frames", "5000:"), 4, "NO_FRAMES")


def test_output_folder_must_exist(pedestrians, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    outcome = engine(pedestrians, folder, "--output-dir", str(tmp_path / "absent"))
    assert_fails(outcome, 5, "OUTPUT_NOT_WRITABLE")


def test_no_space_for_the_result(pedestrians, tmp_path):
    """A file size limit stands in for a full disk; no half result may look whole."""
    outcome = engine(pedestrians, tmp_path / "out", "--frames", "0:12", "--overlay", "none", file_limit=16_000)
    assert_fails(outcome, 5, "OUTPUT_NOT_WRITABLE")


def test_older_result_does_not_survive_a_failure(street, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copy(street.folder / "pose.json", folder)
    assert_fails(engine(tmp_path / "none.mp4", folder), 3, "INPUT_UNREADABLE")


@pytest.mark.parametrize("options", [["--frames", "9:3"], ["--overlay", "naked"], ["--threads", "-1"], ["--unknown"],
                                     ["--max-people", "-1"], ["--capture-fps", "nan"], ["--focal-length-px", "-3"]])
def test_wrong_use(options, pedestrians, tmp_path):
    assert_fails(engine(pedestrians, tmp_path / "out", *options), 2, "USAGE")


def test_missing_models(pedestrians, tmp_path, monkeypatch):
    monkeypatch.setenv("POSE_MODELS_DIR", str(tmp_path))
    outcome = engine(pedestrians, tmp_path / "out")
    assert_fails(outcome, 6, "MODEL_UNREADABLE")
    assert outcome.stages == ["start", "model_load"]


@pytest.mark.parametrize("count", [1, 5, 12, 13, 795])
def test_sheet_shows_evenly_spaced_frames(count):
    shown = sheet_frames(count)
    assert len(shown) == min(12, count) == len(set(shown))
    assert all(0 <= s < count for s in shown)
