"""The command as the operator starts it, against the stand-ins: real options, real videos, real results and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import standin_weights
from harness import Outcome, environment, phalp, start, walkers

STAGES = ["start", "detector_load", "model_load", "track", "write", "done"]


def assert_fails(outcome: Outcome, code: int, name: str, *words: str) -> None:
    """One machine-readable line, the right exit code, nothing that looks like a result."""
    lines = re.findall(r'^pose-engine: error code=(\w+) message="([^"\n]+)"$', outcome.err, re.MULTILINE)
    assert [line[0] for line in lines] == [name], outcome.err
    assert outcome.code == code
    assert all(word in lines[0][1] for word in words), lines
    assert "stage=done" not in outcome.out
    assert list(outcome.folder.iterdir()) == [], "something is left of a failed run"


def ids(result: dict) -> list[list[int]]:
    return [[p["id"] for p in frame["people"]] for frame in result["frames"]]


# --- what works -----------------------------------------------------------------------------------------------------


def test_two_people_are_followed_through_every_frame(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home)
    assert outcome.code == 0, outcome.err
    assert outcome.stages == STAGES
    assert outcome.result["video"]["frames"] == 20
    assert ids(outcome.result) == [[1, 2]] * 20, "the frames before a track is believed belong to it too"
    assert "pose-engine: frame=20 total=20 people=2" in outcome.out
    assert "pose-engine: result frames=20 people=2" in outcome.out
    assert sorted(p.name for p in outcome.folder.iterdir()) == ["pose.json", "smpl.npz"]


def test_nobody_in_the_video_is_a_result(home, tmp_path):
    outcome = phalp(walkers(tmp_path / "empty.avi", 12, people=0), tmp_path / "out", home)
    assert outcome.code == 0, outcome.err
    assert outcome.result["people"] == [] and len(outcome.result["frames"]) == 12


@pytest.mark.parametrize("frames", [1, 3])
def test_a_video_too_short_for_the_usual_evidence_gives_what_it_has(frames, home, tmp_path):
    outcome = phalp(walkers(tmp_path / "short.avi", frames), tmp_path / "out", home)
    assert outcome.code == 0, outcome.err
    assert ids(outcome.result) == [[1, 2]] * frames


def test_given_boxes_load_no_detector_and_keep_their_ids(two_people, home, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("frame,x,y,w,h,id\n" + "".join(f"{i},10,20,30,40,7\n{i},100,20,30,40,3\n" for i in range(2, 20)))
    outcome = phalp(two_people, tmp_path / "out", home, "--detector", "none", "--boxes", str(boxes))
    assert outcome.code == 0, outcome.err
    assert "detector_load" not in outcome.stages
    assert ids(outcome.result) == [[], []] + [[3, 7]] * 18, "small boxes count as well, from their first frame on"


def test_people_too_small_or_too_short_in_sight_are_counted(home, tmp_path):
    small = phalp(walkers(tmp_path / "small.avi", 12, people=2, body=(30, 60)), tmp_path / "a", home)
    short = phalp(walkers(tmp_path / "short.avi", 12, people=1, until=3), tmp_path / "b", home)
    for outcome, filtered in ((small, 2), (short, 1)):
        assert outcome.code == 0, outcome.err
        assert outcome.result["people"] == []
        assert outcome.result["quality"]["peopleFiltered"] == filtered


@pytest.mark.parametrize("n_init", ["1", "2", "7"])
def test_whenever_a_track_is_believed_its_first_frames_belong_to_it(n_init, two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, "--set", f"phalp.n_init={n_init}")
    assert outcome.code == 0, outcome.err
    assert ids(outcome.result) == [[1, 2]] * 20
    assert outcome.result["quality"]["peopleFiltered"] == 0


def test_one_of_two_people_on_request(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, "--max-people", "1")
    assert outcome.code == 0, outcome.err
    assert len(outcome.result["people"]) == 1


def test_every_second_frame(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, "--frame-stride", "2")
    assert outcome.code == 0, outcome.err
    assert outcome.result["video"]["frames"] == 20


def test_upstreams_own_form_on_request(two_people, home, tmp_path):
    import joblib
    outcome = phalp(two_people, tmp_path / "out", home, "--keep-pickle")
    assert outcome.code == 0, outcome.err
    kept = joblib.load(outcome.folder / "phalp.pkl")
    assert list(kept) == [f"{i:06d}.jpg" for i in range(1, 21)]
    assert sorted(kept["000001.jpg"]["tid"]) == [1, 2] and kept["000001.jpg"]["mask"][0]["counts"]


def test_the_smaller_detector(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, "--detector", "maskrcnn")
    assert outcome.code == 0, outcome.err


def test_without_a_working_renderer_there_is_no_overlay_but_a_result(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, "--overlay", "blurred")
    assert outcome.code == 0, outcome.err
    assert "pose-engine: warning code=OVERLAY_UNAVAILABLE" in outcome.out
    assert not (outcome.folder / "overlay.mp4").exists()


def test_an_older_result_does_not_survive(two_people, home, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("pose.json", "smpl.npz", "phalp.pkl", "overlay.mp4"):
        (folder / name).write_text("of an earlier run")
    assert_fails(phalp(tmp_path / "none.mp4", folder, home), 3, "INPUT_UNREADABLE", "missing")


def test_preflight_loads_the_detector_alone(home):
    process = start(["preflight", "--detector", "maskrcnn", "--device", "cpu"], home)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "stage=detector_load" in out and "stage=model_load" not in out
    assert "pose-engine: preflight detector=maskrcnn" in out


def test_preflight_on_a_gpu_runs_it_once(home):
    process = start(["preflight", "--detector", "vitdet", "--device", "gpu"], home, STANDIN_GPU="1")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "pose-engine: preflight detector=vitdet gpu_peak_mib=5" in out


def test_the_launcher_finds_its_package():
    launcher = standin_weights.STANDINS.parents[1] / "src/pose-phalp"
    done = subprocess.run([sys.executable, str(launcher), "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'error code=USAGE message="there is no command' in done.stderr


# --- what cannot work -----------------------------------------------------------------------------------------------


def test_a_missing_weight_file_is_named_before_a_model_is_loaded(two_people, home, tmp_path):
    bare = tmp_path / "home"
    shutil.copytree(home, bare)
    (bare / ".cache/phalp/3D/models/smpl/SMPL_NEUTRAL.pkl").unlink()
    outcome = phalp(two_people, tmp_path / "out", bare)
    assert_fails(outcome, 8, "WEIGHTS_MISSING", "phalp/3D/models/smpl/SMPL_NEUTRAL.pkl")
    assert outcome.stages == ["start"]


def test_a_wrong_body_model(two_people, home, tmp_path):
    other = tmp_path / "home"
    shutil.copytree(home, other)
    (other / ".cache/4DHumans/data/smpl/SMPL_NEUTRAL.pkl").write_bytes(standin_weights.smpl(vertices=10475))
    assert_fails(phalp(two_people, tmp_path / "out", other), 6, "MODEL_UNREADABLE", "SMPL_NEUTRAL.pkl")


@pytest.mark.parametrize("member", ["epoch=35-step=1000000.ckpt", "model_final_f05665.pkl", "pose_predictor.pth"])
def test_a_checkpoint_that_was_cut_off(member, two_people, home, tmp_path):
    damaged = tmp_path / "home"
    shutil.copytree(home, damaged)
    path = next(damaged.rglob(member))
    path.write_bytes(path.read_bytes()[:-40])
    standin_weights.list_digests(damaged / ".torch/iopath_cache")
    assert_fails(phalp(two_people, tmp_path / "out", damaged), 6, "MODEL_UNREADABLE", member)


def test_a_checkpoint_of_another_model(two_people, home, tmp_path):
    other = tmp_path / "home"
    shutil.copytree(home, other)
    path = next(other.rglob("*.ckpt"))
    path.write_bytes(standin_weights.torch_file({"state_dict": standin_weights.linear("backbone.", 9, 9)}))
    assert_fails(phalp(two_people, tmp_path / "out", other), 6, "MODEL_UNREADABLE", "[9, 9]", "[5, 6]")


@pytest.mark.parametrize(("row", "words"), [
    ("20,10,20,30,40", ("frame 20", "the video has 20")),
    ("3,400,20,30,40", ("frame 3", "outside the picture of 320x240")),
    ("3,10,20,-3,40", ("frame 3", "above 0")),
    ("3,10,20,nan,40", ("frame 3", "finite")),
])
def test_boxes_that_do_not_fit_the_video(row, words, two_people, home, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"frame,x,y,w,h\n0,10,20,30,40\n{row}\n")
    outcome = phalp(two_people, tmp_path / "out", home, "--boxes", str(boxes))
    assert_fails(outcome, 7, "BOXES_INVALID", *words)
    assert outcome.stages == ["start"]


def test_no_space_for_the_result(two_people, home, tmp_path):
    """A file size limit stands in for a full disk."""
    assert_fails(phalp(two_people, tmp_path / "out", home, file_limit=9000), 5, "OUTPUT_NOT_WRITABLE")


def test_a_video_that_breaks_off(home, tmp_path):
    whole, cut = walkers(tmp_path / "whole.avi", 40), tmp_path / "cut.avi"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    assert_fails(phalp(cut, tmp_path / "out", home), 3, "INPUT_UNREADABLE", "breaks off after", "of 40 frames")


def test_a_video_without_a_frame(home, tmp_path):
    outcome = phalp(walkers(tmp_path / "none.avi", 0), tmp_path / "out", home)
    assert outcome.code in (3, 4) and "stage=model_load" not in outcome.out


def test_text_is_not_a_video(home, tmp_path):
    (tmp_path / "x;touch pwned;.mp4").write_text("this is no video\n" * 100)
    assert_fails(phalp(tmp_path / "x;touch pwned;.mp4", tmp_path / "out", home), 3, "INPUT_UNREADABLE")


@pytest.mark.parametrize(("fault", "code", "name", "word"), [
    ("raise", 70, "INTERNAL", "something broke"),
    ("gpu_memory", 10, "GPU_OUT_OF_MEMORY", "smaller detector"),
    ("memory", 13, "HOST_OUT_OF_MEMORY", "memory limit"),
    ("download", 8, "WEIGHTS_MISSING", "example.invalid/weights.pth"),
    ("stdout_error", 70, "INTERNAL", "wrong body model"),
])
def test_any_fault_of_upstream_ends_the_run(fault, code, name, word, two_people, home, tmp_path):
    assert_fails(phalp(two_people, tmp_path / "out", home, STANDIN_FAULT=fault), code, name, word)


def test_the_log_goes_on_when_upstream_takes_stdout_away(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home, STANDIN_FAULT="stdout")
    assert outcome.code == 0, outcome.err
    assert outcome.stages == STAGES


def test_no_gpu(two_people, home, tmp_path):
    assert_fails(phalp(two_people, tmp_path / "out", home, device="gpu"), 9, "GPU_UNAVAILABLE")


def test_an_image_without_phalp(two_people, home, tmp_path):
    path = environment(home)["PYTHONPATH"].split(":")[0]
    outcome = phalp(two_people, tmp_path / "out", home, PYTHONPATH=path)
    assert_fails(outcome, 11, "IMAGE_UNSUITABLE", "torch")


def test_told_to_stop_it_ends_at_once(two_people, home, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = ["run", "--video", str(two_people), "--output-dir", str(folder), "--device", "cpu"]
    process = start(arguments, home, STANDIN_FAULT="sleep")
    for line in process.stdout:
        if "frame=" in line or "stage=track" in line:
            break
    time.sleep(0.2)  # into the fourth frame, where the stand-in sleeps for two minutes
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("options", [["--detector", "none"], ["--frame-stride", "0"], ["--max-people", "-1"],
                                     ["--capture-fps", "nan"], ["--focal-length-px", "inf"], ["--overlay", "naked"], ["--unknown"]])
def test_wrong_use(options, two_people, home, tmp_path):
    assert_fails(phalp(two_people, tmp_path / "out", home, *options), 2, "USAGE")


def test_the_log_has_only_documented_lines(two_people, home, tmp_path):
    outcome = phalp(two_people, tmp_path / "out", home)
    line = re.compile(r"pose-engine: (stage=[a-z_]+|frame=\d+ total=\d+ people=\d+|result frames=\d+ people=\d+|"
                      r"weights \d+ of \d+ weight files, .+)")
    assert all(line.fullmatch(text) for text in outcome.out.splitlines() if text.startswith("pose-engine:")), outcome.out
    assert json.loads((outcome.folder / "pose.json").read_text())["engine"]["name"]
