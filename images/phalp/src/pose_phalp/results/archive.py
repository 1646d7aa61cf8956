"""smpl.npz (docs/pose-json.md): parameters to an archive of arrays, written row by row."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, List, Mapping, Tuple

import numpy as np

from pose_phalp.results import skeleton

FORMAT = "pose.dev/smpl/v1alpha1"
_COPY = 64 << 10  # bytes
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal results are equal files

_ROWS: Dict[str, Tuple[str, Tuple[int, ...]]] = {
    "frame": ("<i4", ()), "id": ("<i4", ()), "observed": ("|b1", ()), "global_orient": ("<f4", (3, 3)),
    "body_pose": ("<f4", (23, 3, 3)), "betas": ("<f4", (10,)), "translation": ("<f4", (3,)),
}


class Archive:
    """Collects the rows in files without names and puts them together at the end: a zip member cannot be written while
    another is, and the number of rows stands in front of them."""

    def __init__(self, folder: Path) -> None:
        self._bodies: Dict[str, BinaryIO] = {name: tempfile.TemporaryFile(dir=folder, prefix=".pose-") for name in _ROWS}
        self._rows = 0

    def append(self, frame: int, person: int, seen: bool, value: np.ndarray) -> None:
        row = {"frame": frame, "id": person, "observed": seen, "global_orient": value["rotations"][0],
               "body_pose": value["rotations"][1:], "betas": value["betas"], "translation": value["origin"]}
        for name, (kind, shape) in _ROWS.items():
            self._bodies[name].write(np.asarray(row[name], kind).reshape(shape).tobytes())
        self._rows += 1

    def write(self, target: BinaryIO, people: Iterable[int], rest_joints: List[np.ndarray], fps: float, world_fps: float) -> None:
        """rest_joints: (24, 3) metres a person, in the order of people."""
        small: Mapping[str, np.ndarray] = {
            "format": np.array(FORMAT),
            "person_id": np.array(list(people), "<i4"),
            "rest_joints": np.array(rest_joints, "<f4").reshape(-1, 24, 3),
            "parents": np.array(skeleton.SMPL_PARENTS, "<i4"),
            "joint_names": np.array(skeleton.SMPL_JOINTS),
            "fps": np.array(fps, "<f8"),
            "capture_fps": np.array(world_fps, "<f8"),
        }
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, array in small.items():
                body = array.astype(array.dtype.newbyteorder("<"), "C").tobytes()
                self._member(archive, name, _describe(array.dtype.newbyteorder("<").str, array.shape), io.BytesIO(body))
            for name, (kind, shape) in _ROWS.items():
                self._bodies[name].seek(0)
                self._member(archive, name, _describe(kind, (self._rows, *shape)), self._bodies[name])

    @staticmethod
    def _member(archive: zipfile.ZipFile, name: str, header: bytes, body: BinaryIO) -> None:
        info = zipfile.ZipInfo(f"{name}.npy", _DATE)
        info.external_attr = 0o644 << 16
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(header)
            for part in iter(lambda: body.read(_COPY), b""):
                member.write(part)

    def close(self) -> None:
        for body in self._bodies.values():
            try:
                body.close()
            except OSError:
                pass  # what could not be written has been reported, or is not wanted any more


def _describe(kind: str, shape: Tuple[int, ...]) -> bytes:
    """The header of an array in NumPy's format."""
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": kind, "fortran_order": False, "shape": shape})
    return text.getvalue()
