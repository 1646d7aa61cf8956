"""BVH files, posed by pybvh's forward kinematics and by bvhtoolbox's."""

from __future__ import annotations

import numpy as np
import pybvh
import pytest
from bvhtoolbox import BvhTree
from bvhtoolbox.convert.bvh2csv import write_joint_positions
from conftest import Result

# SMPL's 24 joints, and those of them that PHALP's 45 points hold.
SMPL = ("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3",
        "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand")
OF_PHALP = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "neck",
            "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist")


def by_pybvh(file, _) -> dict[str, np.ndarray]:
    b = pybvh.read_bvh_file(str(file))
    places = b.joint_positions()
    return {name: places[:, i] for i, name in enumerate(b.joint_names)}


def by_bvhtoolbox(file, tmp_path) -> dict[str, np.ndarray]:
    head, rest = file.read_text().split("Frame Time: ")
    # Its table's time column gets a row too many for some rates; positions do not depend on the rate.
    tree = BvhTree(head + "Frame Time: 1\n" + rest.split("\n", 1)[1])
    table = tmp_path / "positions.csv"
    assert write_joint_positions(tree, str(table))
    rows = np.genfromtxt(table, delimiter=",", names=True, deletechars="")
    return {n.rsplit(".", 1)[0]: np.stack([rows[n.rsplit(".", 1)[0] + "." + c] for c in "xyz"], 1)
            for n in rows.dtype.names if n.endswith(".x")}


READERS = pytest.mark.parametrize("read", [by_pybvh, by_bvhtoolbox])


@READERS
def test_kinematics_of_smpl_gives_the_joints_back(export, smpl_or_phalp, read, tmp_path):
    """Where the person was observed: between, engines may interpolate positions and rotations apart."""
    result = smpl_or_phalp
    folder = export(result, "bvh")
    index = {n: result.names.index({"pelvis": "mid_hip"}.get(n, n) if result.name == "phalp" else n)
             for n in SMPL if result.name == "smpl" or n in OF_PHALP}
    for person in result.ids:
        places = read(folder / f"person-{person}.bvh", tmp_path)
        assert set(places) == set(SMPL)
        compared = 0
        for row, frame in enumerate(result.track(person)):
            if not result.people.get((frame, person), {"observed": False}).get("observed", True):
                continue
            compared += 1
            points = result.points(frame, person)
            for name, j in index.items():
                # The result itself is rounded to a millimetre, twice.
                assert np.abs(places[name][row] / 100 - points[j]).max() < 0.00105, (person, frame, name)
        assert compared == next(p["framesSeen"] for p in result.document["people"] if p["id"] == person)


@READERS
def test_bones_derived_from_positions_point_where_the_joints_do(export, read, tmp_path):
    result = Result("mediapipe")
    folder = export(result, "bvh")
    bones = [(f"{s}_{a}", f"{s}_{b}") for s in ("left", "right")
             for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))]
    for person in result.ids:
        places = read(folder / f"person-{person}.bvh", tmp_path)
        for row, frame in enumerate(result.track(person)):
            points = dict(zip(result.names, result.points(frame, person), strict=True))
            for a, b in bones:
                got, want = places[b][row] - places[a][row], points[b] - points[a]
                cos = got @ want / np.linalg.norm(got) / np.linalg.norm(want)
                assert cos > 0.99999, (person, frame, a, b)


def test_rate_and_gap(export, smpl):
    b = pybvh.read_bvh_file(str(export(smpl, "bvh") / "person-1.bvh"))
    assert b.frame_time == pytest.approx(1 / smpl.rate)
    assert b.frame_count == len(smpl.track(1))
    # Frames 8 to 10 are absent: the root goes in a line from frame 7 to frame 11.
    a, z = b.root_pos[7], b.root_pos[11]
    assert b.root_pos[9] == pytest.approx((a + z) / 2, abs=1e-3)
    slow = pybvh.read_bvh_file(str(export(smpl, "bvh", "--capture-fps", "240") / "person-1.bvh"))
    assert slow.frame_time == pytest.approx(1 / 240)
