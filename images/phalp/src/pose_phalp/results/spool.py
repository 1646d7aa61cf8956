"""Sightings on the disk, so that memory does not grow with the video's length.

Three files without names in the output folder: nothing is left of them however the process ends.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, List

import numpy as np

from pose_phalp.results.sighting import VALUE

# One frame that was looked at, and one person of one such frame: value is the sighting itself, or the one before where the
# person is not seen, and after the next one then; -1 where there is none.
FRAME = np.dtype([("index", "<i8"), ("time", "<f8"), ("people", "<i4")])
ENTRY = np.dtype([("frame", "<i8"), ("id", "<i4"), ("seen", "?"), ("value", "<i8"), ("after", "<i8")])

_CHUNK = 256  # records


class _Table:
    """Records of one type, appended, read in order, and changed in place."""

    def __init__(self, kind: np.dtype, folder: Path) -> None:
        self._kind = kind
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, prefix=".pose-")  # noqa: SIM115 - closed by the spool
        self._pending: List[bytes] = []
        self.count = 0

    def append(self, record: np.ndarray) -> int:
        """The record's number."""
        self._pending.append(record.tobytes())
        if len(self._pending) >= 64:
            self._flush()
        self.count += 1
        return self.count - 1

    def get(self, number: int) -> np.ndarray:
        self._flush()
        self._file.seek(number * self._kind.itemsize)
        return np.frombuffer(self._file.read(self._kind.itemsize), self._kind)[0]

    def put(self, number: int, record: np.ndarray) -> None:
        self._flush()
        self._file.seek(number * self._kind.itemsize)
        self._file.write(record.tobytes())

    def __iter__(self) -> Iterator[np.ndarray]:
        self._flush()
        for start in range(0, self.count, _CHUNK):
            self._file.seek(start * self._kind.itemsize)
            yield from np.frombuffer(self._file.read(_CHUNK * self._kind.itemsize), self._kind)

    def _flush(self) -> None:
        if self._pending:
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(self._pending))
            self._pending.clear()

    def close(self) -> None:
        self._pending.clear()
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written has been reported, or is not wanted any more


class Spool:
    """frames, entries and values; see FRAME, ENTRY and sighting.VALUE."""

    def __init__(self, folder: Path) -> None:
        self.frames = _Table(FRAME, folder)
        self.entries = _Table(ENTRY, folder)
        self.values = _Table(VALUE, folder)

    def close(self) -> None:
        for table in (self.frames, self.entries, self.values):
            table.close()


@contextmanager
def opened(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder)
    try:
        yield spool
    finally:
        spool.close()


def frame_record(index: int, time: float, people: int) -> np.ndarray:
    return np.array((index, time, people), FRAME)


def entry_record(frame: int, person: int, seen: bool, value: int) -> np.ndarray:
    return np.array((frame, person, seen, value, -1), ENTRY)
