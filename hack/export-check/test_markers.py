"""TRC files read by trc-data-reader, C3D files by ezc3d and by c3d."""

from __future__ import annotations

import c3d
import ezc3d
import numpy as np
import pytest
from trc import TRCData


def by_trc(folder, person):
    data = TRCData()
    data.load(str(folder / f"person-{person}.trc"))
    assert data["Units"] == "mm"
    assert "monocular-estimate" in data["FileName"]
    points = np.array([data[m] for m in data["Markers"]]).transpose(1, 0, 2)
    return data["Markers"], data["DataRate"], np.array(data["Frame#"]), points


def by_ezc3d(folder, person):
    c = ezc3d.c3d(str(folder / f"person-{person}.c3d"))
    point = c["parameters"]["POINT"]
    assert point["UNITS"]["value"] == ["mm"]
    assert set(point["DESCRIPTIONS"]["value"]) == {"monocular estimate"}
    assert c["parameters"]["POSE"]["METHOD"]["value"] == ["monocular estimate"]
    first, last = c["header"]["points"]["first_frame"] + 1, c["header"]["points"]["last_frame"] + 1
    return point["LABELS"]["value"], point["RATE"]["value"][0], np.arange(first, last + 1), c["data"]["points"][:3].transpose(2, 1, 0)


def by_c3d(folder, person):
    with open(folder / f"person-{person}.c3d", "rb") as f:
        r = c3d.Reader(f)
        numbers, points = [], []
        for number, p, _ in r.read_frames():
            numbers.append(number)
            points.append(np.where(p[:, 3:4] < 0, np.nan, p[:, :3]))
        return [label.strip() for label in r.point_labels], r.point_rate, np.array(numbers), np.array(points)


@pytest.mark.parametrize(("format", "read"), [("trc", by_trc), ("c3d", by_ezc3d), ("c3d", by_c3d)])
def test_markers_are_the_joints_of_pose_json(export, result, format, read):
    folder = export(result, format)
    absent = 0
    for person in result.ids:
        names, rate, numbers, points = read(folder, person)
        track = result.track(person)
        assert list(names) == result.names
        assert rate == pytest.approx(result.rate)
        assert list(numbers) == [f + 1 for f in track]
        for row, frame in enumerate(track):
            want = result.points(frame, person)
            if want is None:
                absent += 1
                assert np.isnan(points[row]).all(), (person, frame)
            else:
                # C3D has 32-bit floats: some micrometres at 60 m from the camera.
                assert points[row] / 1000 == pytest.approx(want, abs=2e-5), (person, frame)
    assert absent == {"mediapipe": 0, "smpl": 3}.get(result.name, absent)
