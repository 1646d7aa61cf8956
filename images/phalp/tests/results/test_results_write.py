import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import contract
import golden
import numpy as np
import pytest
import standin_smpl as standin
from standin_smpl import frame, lost, meta, seen, walk

from pose_phalp.errors import EngineError, Failure
from pose_phalp.results import skeleton, write


def made(tmp_path, looked_at, **other):
    looked_at = list(looked_at)
    summary = write(iter(looked_at), meta(**{"frames": len(looked_at), **other}), tmp_path)
    document, arrays = contract.load(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["pose.json", "smpl.npz"]
    return document, arrays, summary


def alone(count, **other):
    return [frame(index, person) for index, person in walk(count, **other)]


def person_at(document, index, number=1):
    return next(p for p in document["frames"][index]["people"] if p["id"] == number)


def projected(document, person):
    camera = document["camera"]
    points = np.array(person["joints3d"]) + person["translation"]
    return camera["focalLengthPx"] * points[:, :2] / points[:, 2:] + camera["principalPoint"]


def test_the_documents_camera_sees_joints3d_at_joints2d(tmp_path):
    document, _, summary = made(tmp_path, alone(6))
    for index in range(6):
        person = person_at(document, index)
        assert np.abs(projected(document, person) - np.array(person["joints2d"])[:, :2]).max() < 1
    assert document["camera"]["focalLengthOrigin"] == "EngineDefault"
    assert document["camera"]["focalLengthPx"] == 15000  # 5000 * 768 / 256
    assert document["camera"]["principalPoint"] == [384, 288]
    assert summary["meanProjectionErrorPx"] < 0.05


def test_an_upright_person_has_the_head_above_and_the_right_hand_left(tmp_path):
    """Axes: y down, and the person's right on the picture's left when facing the camera."""
    facing = np.array([standin.about((1, 0, 0), np.pi)] + [np.eye(3)] * 23)
    rng = np.random.default_rng(0)
    document, _, _ = made(tmp_path, [frame(0, seen(1, (300, 300), 200, rng, facing, np.zeros(10)))])
    person = person_at(document, 0)
    joint = dict(zip(document["skeleton"]["joints"], person["joints3d"]))
    pixel = dict(zip(document["skeleton"]["joints"], person["joints2d"]))
    assert joint["nose"][1] < joint["left_ankle"][1] and pixel["nose"][1] < pixel["left_ankle"][1]
    assert joint["right_wrist"][0] < joint["left_wrist"][0] and pixel["right_wrist"][0] < pixel["left_wrist"][0]
    assert joint["left_big_toe"][2] < joint["left_ankle"][2]  # toes point at the camera
    hips = (np.array(joint["right_hip"]) + joint["left_hip"]) / 2
    assert np.abs(hips).max() <= 0.001


def test_smpl_parameters_give_the_joints_back(tmp_path):
    """Forward kinematics of smpl.npz, from its own rest joints, against joints3d + translation."""
    rng = np.random.default_rng(2)
    document, arrays, _ = made(tmp_path, [frame(0, seen(4, (300, 300), 200, rng))])
    rotations = np.concatenate([arrays["global_orient"][0][None], arrays["body_pose"][0]])
    places, _ = standin.kinematics(rotations.astype(float), arrays["rest_joints"][0].astype(float))
    places += arrays["translation"][0]
    person = person_at(document, 0, 4)
    absolute = np.array(person["joints3d"]) + person["translation"]
    for k in range(1, 15):  # of BODY_25 those that are joints of the model
        np.testing.assert_allclose(places[standin.CARRIERS[k]], absolute[k], atol=0.003)
    assert arrays["joint_names"].tolist() == list(skeleton.SMPL_JOINTS)


def test_a_gap_is_filled_between_sightings_not_repeated(tmp_path):
    document, arrays, summary = made(tmp_path, alone(8, lose=(3, 4)))
    before, middle, after = (person_at(document, k) for k in (2, 3, 5))
    assert middle["observed"] is False and "observed" not in before
    third = (2 * np.array(before["joints2d"])[:, :2] + np.array(after["joints2d"])[:, :2]) / 3
    np.testing.assert_allclose(np.array(middle["joints2d"])[:, :2], third, atol=0.11)
    assert document["people"] == [{"id": 1, "firstFrame": 0, "lastFrame": 7, "framesSeen": 6}]
    assert document["quality"] == {"coverage": 0.75, "gaps": 1, "idSwitchesSuspected": 0, "peopleFiltered": 0}
    assert arrays["observed"].tolist() == [True] * 3 + [False] * 2 + [True] * 3
    assert summary["entries"] == 8


def test_frames_before_the_first_and_after_the_last_sighting_are_not_the_persons(tmp_path):
    people = dict(walk(6, lose=(4, 5)))
    frames = [frame(0), frame(1, lost(people[0], 1)), *(frame(k, people[k - 2]) for k in range(2, 8))]
    document, _, _ = made(tmp_path, frames)
    assert document["people"] == [{"id": 1, "firstFrame": 2, "lastFrame": 5, "framesSeen": 4}]
    assert [len(f["people"]) for f in document["frames"]] == [0, 0, 1, 1, 1, 1, 0, 0]


def test_nobody_is_a_result(tmp_path):
    document, arrays, summary = made(tmp_path, [frame(k) for k in range(3)], people_filtered=4)
    assert document["people"] == [] and summary["people"] == 0
    assert document["quality"] == {"coverage": 0, "gaps": 0, "idSwitchesSuspected": 0, "peopleFiltered": 4}
    assert arrays["rest_joints"].shape == (0, 24, 3)


def test_one_frame_is_a_result(tmp_path):
    document, _, _ = made(tmp_path, alone(1))
    assert document["video"]["durationSeconds"] == 0.1


def test_people_are_sorted_and_keep_the_trackers_ids(tmp_path):
    rng = np.random.default_rng(2)
    both = [seen(9, (500, 300), 150, rng), seen(3, (200, 300), 250, rng)]
    document, arrays, _ = made(tmp_path, [frame(0, *both), frame(1, both[0])])
    assert [p["id"] for p in document["frames"][0]["people"]] == [3, 9] == arrays["person_id"].tolist()


def test_the_job_gets_as_many_people_as_it_wants(tmp_path):
    rng = np.random.default_rng(2)
    frames = [frame(k, seen(1, (500, 300), 100, rng), seen(2, (200, 300), 250, rng)) for k in range(3)]
    frames.append(frame(3, seen(1, (500, 300), 100, rng)))
    document, _, summary = made(tmp_path, frames, max_people=1)
    assert [p["id"] for p in document["people"]] == [2]
    assert document["quality"]["peopleNotSelected"] == 1 and document["quality"]["coverage"] == 0.75
    assert summary["people"] == 1


def test_slow_motion_is_named_and_times_stay_the_sources(tmp_path):
    frames = [frame(k, time=0.5 + k / 10 + 0.001 * k * k) for k in range(3)]
    document, arrays, _ = made(tmp_path, frames, capture_fps=240)
    assert document["video"]["captureFPS"] == 240 and document["video"]["fps"] == 10
    assert [f["time"] for f in document["frames"]] == [0.5, 0.601, 0.704]
    assert (float(arrays["fps"]), float(arrays["capture_fps"])) == (10, 240)
    assert "captureFPS" not in made(tmp_path, frames, capture_fps=10)[0]["video"]


def test_a_stride_is_filled_up(tmp_path):
    looked = [frame(3 * k, person, time=0.3 * k) for k, person in walk(4, lose=(1,))]
    document, _, _ = made(tmp_path, looked, frames=11, stride=3)
    assert len(document["frames"]) == 11
    assert [p["id"] for f in document["frames"] for p in f["people"]] == [1] * 10
    assert [k for k in range(10) if person_at(document, k).get("observed", True)] == [0, 6, 9]
    x = [person_at(document, k)["joints2d"][8][0] for k in range(7)]
    np.testing.assert_allclose(np.diff(x), (x[6] - x[0]) / 6, atol=0.21)
    np.testing.assert_allclose([f["time"] for f in document["frames"]], np.arange(11) / 10, atol=1e-6)


def test_a_given_focal_length_places_people_for_it(tmp_path):
    """Made with a camera of 900 px: upstream's own camera puts the person 17 times too far away."""
    rng = np.random.default_rng(7)
    person = seen(1, (300, 300), 400, rng)
    true = np.array([0.3, 0.1, 4.0])
    pixels = 900 * (person["joints3d"][:, :2] + true[:2]) / (person["joints3d"][:, 2:] + true[2]) + (384, 288)
    person["joints2d"] = (pixels + (0, 96)) / 768
    document, arrays, summary = made(tmp_path, [frame(0, person)], focal_length_px=900)
    np.testing.assert_allclose(arrays["translation"][0], true, atol=1e-3)
    shown = person_at(document, 0)
    assert np.abs(projected(document, shown) - np.array(shown["joints2d"])[:, :2]).max() < 1
    assert document["camera"]["focalLengthOrigin"] == "Given" and document["camera"]["focalLengthPx"] == 900
    assert summary["meanProjectionErrorPx"] < 0.01


def test_a_given_focal_length_keeps_the_person_where_upstream_sees_it(tmp_path):
    document, _, _ = made(tmp_path, alone(3), focal_length_px=900)
    for index in range(3):
        person = person_at(document, index)
        assert np.abs(projected(document, person) - np.array(person["joints2d"])[:, :2]).mean() < 8
        assert 1 < person["translation"][2] < 10


def test_wild_but_finite_numbers_are_moved_and_told(tmp_path):
    person = dict(walk(1))[0]
    person["camera"] = np.array([0, 0, -4.0])
    person["joints2d"] = person["joints2d"] * 300
    person["bbox"] = np.array([-9000, 0, 20, 30])
    document, _, summary = made(tmp_path, [frame(0, person)])
    assert summary["clipped"] == 1 and "1 person-frames" in document["camera"]["caveats"][-1]


def test_a_person_at_no_scale_is_moved_into_sight(tmp_path):
    person = dict(walk(1))[0]
    person["camera"] = person["camera"] * np.float32(1e9)
    document, arrays, summary = made(tmp_path, [frame(0, person)])
    assert summary["clipped"] == 1 and person_at(document, 0)["translation"][2] == 100_000
    before, after = person["camera"], arrays["translation"][0]
    np.testing.assert_allclose(after[:2] / after[2], before[:2] / before[2], rtol=1e-3)


@pytest.mark.parametrize("wrong", [{"device": "TPU"}, {"fps": float("nan")}, {"width": 0}, {"focal_length_px": -1},
                                   {"models": [{"name": "m", "sha256": "0"}]}, {"stride": 0}])
def test_wrong_facts_are_the_callers_fault(tmp_path, wrong):
    with pytest.raises(EngineError) as caught:
        write(iter([frame(0)]), meta(1, **wrong), tmp_path)
    assert caught.value.failure is Failure.INTERNAL and next(iter(wrong)).rstrip("s") in caught.value.message


def test_counts_may_be_told_at_the_end(tmp_path):
    filtered = []

    def frames():
        for k in range(3):
            filtered.append(k)
            yield frame(k)

    write(frames(), meta(lambda: 3, people_filtered=lambda: len(filtered)), tmp_path)
    assert contract.load(tmp_path)[0]["quality"]["peopleFiltered"] == 3


def test_equal_results_are_equal_files(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        made(folder, alone(3))
    for name in ("pose.json", "smpl.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def broken(tmp_path, change, pick=4):
    frames = alone(6)
    change(frames[pick]["people"][0])
    (tmp_path / "pose.json").write_text("of an earlier run")
    with pytest.raises(EngineError) as caught:
        write(iter(frames), meta(6), tmp_path)
    assert caught.value.failure is Failure.RESULT_INVALID
    assert os.listdir(tmp_path) == []
    return caught.value.message


@pytest.mark.parametrize(("change", "words"), [
    (lambda p: p["camera"].__setitem__(2, np.nan), "camera has a number that is not finite"),
    (lambda p: p.update(joints3d=np.full((45, 3), np.inf)), "joints3d has a number that is not finite"),
    (lambda p: p.update(camera=[0, 0, 1e300]), "camera has the number 1e+300"),
    (lambda p: p.update(bbox=[0, 0, 10]), "bbox has the shape (3,), (4,) was expected"),
    (lambda p: p.update(bbox=[0, 0, 10, 0]), "bbox is 10x0"),
    (lambda p: p.update(joints2d=np.zeros((44, 2))), "joints2d has the shape (44, 2)"),
    (lambda p: p.pop("joints3d"), "joints3d is missing"),
    (lambda p: p.pop("smpl"), "smpl is missing"),
    (lambda p: p["smpl"].pop("betas"), "betas is missing"),
    (lambda p: p["smpl"].update(body_pose=np.zeros((23, 3, 3))), "no rotation"),
    (lambda p: p["smpl"].update(global_orient=-np.eye(3)[None]), "the matrix of joint pelvis in smpl is no rotation"),
    (lambda p: p["smpl"].update(betas=np.full(10, 1e4)), "betas has the number 1e+04"),
    (lambda p: p.update(conf="high"), "conf is str 'high'"),
    (lambda p: p.update(conf=[0.5, 0.5]), "conf has the shape (2,)"),
    (lambda p: p.update(camera=[[1], [2, 3]]), "camera is list"),
    (lambda p: p.update(size=[480, 640]), "640x480 pixels, the video 768x576"),
    (lambda p: p.update(tracked_time=-1), "tracked_time is -1"),
    (lambda p: p.update(tracked_time=0.5), "tracked_time is float 0.5"),
])
def test_broken_numbers_name_frame_and_person(tmp_path, change, words):
    message = broken(tmp_path, change)
    assert "frame 4, person 1:" in message and words in message


@pytest.mark.parametrize("tid", [0, -1, 2**31, 1.5, None, True, "1"])
def test_broken_ids_name_the_frame(tmp_path, tid):
    assert "frame 4: tid" in broken(tmp_path, lambda p: p.update(tid=tid)).replace(", person None", "")


def refused(tmp_path, looked_at, words, **other):
    with pytest.raises(EngineError) as caught:
        write(iter(looked_at), meta(**{"frames": len(looked_at), **other}), tmp_path)
    assert words in caught.value.message and os.listdir(tmp_path) == []
    return caught.value.failure


def test_broken_frames_are_refused(tmp_path):
    one = dict(walk(1))[0]
    assert refused(tmp_path, [frame(0), frame(2)], "its index is 2") is Failure.RESULT_INVALID
    refused(tmp_path, [frame(0), frame(1, time=0.0)], "frame 1: its time is 0.0 s")
    refused(tmp_path, [frame(0, time=float("nan"))], "its time is nan")
    refused(tmp_path, [frame(0, one, one)], "person 1: it occurs twice")
    refused(tmp_path, [{"index": 0, "time": 0.0}], "people is missing")
    refused(tmp_path, [frame(0, *[one] * 1001)], "1001 people")
    refused(tmp_path, [frame(0, "somebody")], "a person is a str")
    refused(tmp_path, ["frame"], "it is a str")


def test_a_short_result_is_none(tmp_path):
    assert refused(tmp_path, alone(5), "looked at 5 frames", frames=6) is Failure.RESULT_INVALID
    assert refused(tmp_path, alone(7), "looked at 7 frames", frames=6) is Failure.RESULT_INVALID
    assert refused(tmp_path, [], "has 0 frames") is Failure.NO_FRAMES


def test_foreign_rest_joints_are_refused(tmp_path):
    for joints in (np.zeros((23, 3)), np.full((24, 3), np.nan), np.full((24, 3), 11.0)):
        refused(tmp_path, alone(2), "rest joints of person 1", rest_joints=lambda betas, j=joints: j)


def test_an_engine_that_dies_leaves_nothing(tmp_path):
    def frames():
        yield from alone(3)
        raise KeyError("the engine dies here")

    with pytest.raises(KeyError):
        write(frames(), meta(9), tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_engines_own_files_keeps_its_name(tmp_path):
    def frames():
        yield frame(0)
        raise FileNotFoundError(2, "No such file", "video.mp4")

    with pytest.raises(FileNotFoundError) as caught:
        write(frames(), meta(2), tmp_path)
    assert caught.value.filename == "video.mp4"


# A file that may not grow is what a full disk is to the writer: write() fails, early or late. The limit is the process's.
FULL = textwrap.dedent("""
    import resource, sys
    sys.path[:0] = sys.argv[3:]
    from standin_smpl import frame, meta, walk
    from pose_phalp.errors import classify
    from pose_phalp.results import write
    frames = [frame(2 * index, person) for index, person in walk(60)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        write(iter(frames), meta(119, stride=2), sys.argv[1])
    except OSError as error:
        print(classify(error).failure.name, error)
""")


@pytest.mark.parametrize("limit", [0, 60_000, 113_000, 117_000, 200_000])  # three in the spool, two in pose.json
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, limit):
    here = Path(__file__).resolve().parent
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(limit), str(here), str(here.parents[1] / "src")],
                          capture_output=True, text=True, check=True)
    for words in ("OUTPUT_NOT_WRITABLE", "while PHALP's result was written", "pose.json"):
        assert words in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OSError) as caught:
        write(iter([frame(0)]), meta(1), tmp_path / "missing")
    assert "missing" in str(caught.value)


def peak(folder, count):
    """Highest traced memory in bytes while count frames are written."""
    people = dict(walk(40))
    folder.mkdir()
    tracemalloc.start()
    write((frame(k, people[k % 40]) for k in range(count)), meta(count), folder)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


def test_memory_does_not_grow_with_length(tmp_path):
    """Both lengths are more than the writer reads at a time (256 records)."""
    peak(tmp_path / "warm", 10)
    short, long = peak(tmp_path / "short", 280), peak(tmp_path / "long", 680)
    assert long < short + 40_000  # 400 more frames, of which each sighting alone has 1900 bytes


def test_progress_is_told(tmp_path):
    told = []
    write(iter(alone(4)), meta(4), tmp_path, progress=lambda *n: told.append(n))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_operators_golden_files_are_this_writers(tmp_path):
    """golden.py writes them; another processor may round a last digit otherwise."""
    golden.main(str(tmp_path))
    fresh, arrays = contract.load(tmp_path)
    kept, kept_arrays = contract.load(Path(__file__).resolve().parents[4] / "internal" / "result" / "testdata" / "phalp")
    near(fresh, kept)
    for name, array in kept_arrays.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(arrays[name], array, atol=1e-4)
        else:
            assert arrays[name].tolist() == array.tolist()


def near(a, b):
    """Equal but for numbers that differ in the last digit that is written."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b):
            near(one, other)
    else:
        assert a == b or abs(a - b) <= 0.101
