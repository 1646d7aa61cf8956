"""What moves in front of a still background. Evidence only: it says where to look, and tells posts from people.

The background is a mixture of Gaussians for each pixel of a small copy of the frame (Zivkovic, 2004; OpenCV's MOG2). With
a moving camera most of the picture seems to move; then nothing is known, and nothing is said.
"""

from __future__ import annotations

import cv2
import numpy as np

WORKING_SIDE = 480  # pixels of the longer side of the small copy
HISTORY_SECONDS = 40  # as long as a waiting person stays in the foreground
WARM_UP = 5  # frames until the first answers
STILL_CAMERA = 0.2  # share of moving pixels from which it is the camera that moves
SMALLEST = 5  # pixels of the small copy; lower things are noise
MOST_SPOTS = 6

# Where a body surely is: trunk, thighs and shins, as shares between two joints.
_BETWEEN = ((11, 23), (12, 24), (11, 24), (12, 23), (23, 25), (24, 26), (25, 27), (26, 28))


class Motion:
    """Feed every frame in order; then ask about that frame."""

    def __init__(self, width: int, height: int, fps: float) -> None:
        self._scale = min(1.0, WORKING_SIDE / max(width, height))
        self._size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
        history = int(min(max(fps * HISTORY_SECONDS, 100), 2000))
        self._model = cv2.createBackgroundSubtractorMOG2(history=history, varThreshold=20, detectShadows=True)
        self._mask = np.zeros(self._size[::-1], np.uint8)
        self._frames = 0
        self.known = False

    def feed(self, frame: np.ndarray) -> None:
        small = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        moving = (self._model.apply(small) == 255).astype(np.uint8)  # 127 is a shadow
        self._mask = cv2.medianBlur(moving, 3) if min(self._size) >= 3 else moving
        self._frames += 1
        self.known = self._frames > WARM_UP and float(self._mask.mean()) < STILL_CAMERA

    def share(self, points: np.ndarray) -> float | None:
        """Share of a body, joints (33, 2) in pixels, that moves or stands where nothing stood before, 0..1; None: unknown."""
        if not self.known:
            return None
        pairs = np.array(_BETWEEN)
        spots = np.concatenate([points[pairs[:, 0]] * (1 - k) + points[pairs[:, 1]] * k for k in (0.2, 0.5, 0.8)])
        columns, rows = np.floor(np.nan_to_num(spots) * self._scale).astype(np.int64).T
        inside = (columns >= 0) & (rows >= 0) & (columns < self._size[0]) & (rows < self._size[1])
        return float(self._mask[rows[inside], columns[inside]].mean()) if inside.any() else None

    def unexplained(self, boxes: list[np.ndarray]) -> list[tuple[float, float, float, float]]:
        """Moving things outside of all boxes [x, y, w, h], largest first, as boxes in pixels."""
        if not self.known:
            return []
        mask = self._mask.copy()
        for x, y, w, h in (np.nan_to_num(b) * self._scale for b in boxes):
            grow = 0.1 * max(w, h)
            x0, y0 = max(int(x - grow), 0), max(int(y - grow), 0)
            mask[y0:max(int(y + h + grow) + 1, 0), x0:max(int(x + w + grow) + 1, 0)] = 0
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 3), np.uint8))  # a pole cuts a walker in two
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        spots = [s for s in stats[1:count] if s[cv2.CC_STAT_HEIGHT] >= SMALLEST
                 and s[cv2.CC_STAT_AREA] >= 0.25 * s[cv2.CC_STAT_HEIGHT] * s[cv2.CC_STAT_WIDTH]]
        spots.sort(key=lambda s: (-s[cv2.CC_STAT_AREA], s[0], s[1]))
        return [tuple(float(v) / self._scale for v in s[:4]) for s in spots[:MOST_SPOTS]]
