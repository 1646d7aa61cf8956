"""Finds people in a frame with MediaPipe's pose detector.

The detector is made for one person who fills a good part of a 224x224 picture. Run on overlapping tiles of several sizes
it finds several people of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pose_mediapipe.geometry import Roi, body_roi, same_place
from pose_mediapipe.models import ModelPool, sigmoid

INPUT = 224
TILE_FRACTIONS = (1.0, 1 / 2, 1 / 3)  # of the frame's shorter side
OVERLAP = 0.33  # a body next to the rim of one tile lies well inside its neighbour
RIM = 0.06  # hips this near to a tile's inner rim are left to the neighbour
MIN_TILE = 96  # pixels; below this a tile is enlarged noise
SHRINK = 8  # the side of the squares whose mean brightness tells whether a tile has changed
SAME_GREY = 12.0  # of 255; less is noise, and a person in it is no more than that darker or lighter than before
_STRIDES = (8, 16, 32, 32, 32)


@dataclass(frozen=True)
class Detection:
    """A person found: the square around the body, and how sure the detector is (0..1)."""

    roi: Roi
    score: float


@dataclass(frozen=True)
class Tile:
    """A square part of the frame in pixels; it may reach beyond the frame."""

    x: int
    y: int
    side: int


def anchor_centres() -> np.ndarray:
    """Centres of the detector's 2254 anchors, shape (2254, 2), as fractions of the input."""
    rows = []
    for stride in _STRIDES:
        cells = INPUT // stride
        axis = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(axis, axis, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), 2, axis=0))
    return np.concatenate(rows).astype(np.float32)


def plan_tiles(width: int, height: int) -> list[Tile]:
    """Tiles of every size that together cover the frame."""
    shorter = min(width, height)
    tiles: list[Tile] = []
    for fraction in TILE_FRACTIONS:
        side = round(shorter * fraction)
        if fraction < 1 and side < MIN_TILE:
            break
        tiles += [Tile(x, y, side) for y in _starts(height, side) for x in _starts(width, side)]
    if max(width, height) > shorter:
        longer = max(width, height)
        tiles.append(Tile((width - longer) // 2, (height - longer) // 2, longer))
    return tiles


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    steps = int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return [round(i * (length - side) / steps) for i in range(steps + 1)]


def cut_tile(frame: np.ndarray, tile: Tile) -> np.ndarray:
    """The tile as the detector's input: float32 (1, 224, 224, 3), RGB, -1..1; black beyond the frame."""
    height, width = frame.shape[:2]
    x0, y0 = max(tile.x, 0), max(tile.y, 0)
    x1, y1 = min(tile.x + tile.side, width), min(tile.y + tile.side, height)
    part = frame[y0:y1, x0:x1]
    if part.size == 0:
        return np.full((1, INPUT, INPUT, 3), -1, np.float32)
    if part.shape[:2] != (tile.side, tile.side):
        part = cv2.copyMakeBorder(part, y0 - tile.y, tile.y + tile.side - y1, x0 - tile.x, tile.x + tile.side - x1,
                                  cv2.BORDER_CONSTANT)
    shrink = tile.side > INPUT
    small = cv2.resize(part, (INPUT, INPUT), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return (small[None, :, :, ::-1].astype(np.float32) / 127.5) - 1.0


def decode_tile(regressors: np.ndarray, logits: np.ndarray, anchors: np.ndarray, tile: Tile, frame_size: tuple[int, int],
                threshold: float) -> list[Detection]:
    """People in one tile from the raw outputs (2254, 12) and (2254,); frame_size is (width, height)."""
    scores = sigmoid(logits)
    found = []
    for i in np.flatnonzero(scores >= threshold):
        points = regressors[i, 4:8].reshape(2, 2) / INPUT + anchors[i]  # mid hip, and a point on the body's circle
        if _at_inner_rim(points[0], tile, frame_size):
            continue
        points = points * tile.side + (tile.x, tile.y)
        roi = body_roi(points[0], points[1])
        if roi.side > 8:
            found.append(Detection(roi, float(scores[i])))
    return found


def _at_inner_rim(hip: np.ndarray, tile: Tile, frame_size: tuple[int, int]) -> bool:
    near_start = [hip[0] < RIM and tile.x > 0, hip[1] < RIM and tile.y > 0]
    near_end = [hip[axis] > 1 - RIM and (tile.x, tile.y)[axis] + tile.side < frame_size[axis] for axis in (0, 1)]
    return any(near_start) or any(near_end)


def suppress(found: list[Detection]) -> list[Detection]:
    """Keeps the surest of the detections that show the same body."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda d: -d.score):
        if not any(same_place(detection.roi, other.roi) for other in kept):
            kept.append(detection)
    return kept


def shrink(frame: np.ndarray) -> np.ndarray:
    """A grey copy of which each pixel is the mean of SHRINK x SHRINK pixels, float32."""
    height, width = frame.shape[:2]
    size = (max(width // SHRINK, 1), max(height // SHRINK, 1))
    return cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY).astype(np.float32)


class TileMemory:
    """What was found in each tile, and what it looked like then: most of a still camera's picture never changes."""

    def __init__(self) -> None:
        self._kept: dict[Tile, tuple[np.ndarray, list[Detection]]] = {}

    def recall(self, tile: Tile, shrunk: np.ndarray) -> list[Detection] | None:
        """What was found when the tile looked like this; None if it has changed."""
        if tile not in self._kept:
            return None
        before, found = self._kept[tile]
        change = np.abs(_part(shrunk, tile) - before)
        return found if change.size and float(change.max()) < SAME_GREY else None

    def keep(self, tile: Tile, shrunk: np.ndarray, found: list[Detection]) -> None:
        self._kept[tile] = (_part(shrunk, tile).copy(), found)

    def found(self, tile: Tile) -> list[Detection]:
        return self._kept[tile][1]


def _part(shrunk: np.ndarray, tile: Tile) -> np.ndarray:
    x0, y0 = max(tile.x, 0) // SHRINK, max(tile.y, 0) // SHRINK
    return shrunk[y0:(tile.y + tile.side) // SHRINK + 1, x0:(tile.x + tile.side) // SHRINK + 1]


class Detector:
    """The pose detector over all tiles of a frame."""

    def __init__(self, pool: ModelPool, width: int, height: int, threshold: float = 0.4) -> None:
        self._pool = pool
        self._memory = TileMemory()
        self._size = (width, height)
        self._anchors = anchor_centres()
        self._tiles = plan_tiles(width, height)
        self._threshold = threshold

    @property
    def tiles(self) -> int:
        return len(self._tiles)

    def detect(self, frame: np.ndarray) -> list[Detection]:
        """People in a BGR frame, surest first. Where a tile looks as it did before, the answer is the one of then."""
        shrunk = shrink(frame)
        changed = [t for t in self._tiles if self._memory.recall(t, shrunk) is None]
        for tile, found in zip(changed, self._look(frame, changed), strict=True):
            self._memory.keep(tile, shrunk, found)
        return suppress([d for t in self._tiles for d in self._memory.found(t)])

    def detect_in(self, frame: np.ndarray, tiles: list[Tile]) -> list[Detection]:
        """People in the given tiles of a BGR frame only, surest first."""
        return suppress([d for part in self._look(frame, tiles) for d in part])

    def _look(self, frame: np.ndarray, tiles: list[Tile]) -> list[list[Detection]]:
        def work(infer, tile: Tile) -> list[Detection]:
            outputs = infer(cut_tile(frame, tile))
            regressors, logits = sorted((o[0] for o in outputs), key=lambda o: -o.shape[-1])
            return decode_tile(regressors, logits[:, 0], self._anchors, tile, self._size, self._threshold)

        return self._pool.map(work, tiles)
