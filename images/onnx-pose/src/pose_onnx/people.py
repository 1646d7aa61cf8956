"""What a model finds in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_PEOPLE = 100  # in one frame; a broken model finds thousands


@dataclass(frozen=True)
class Found:
    """People of one frame, n of them.

    boxes: (n, 4) [x, y, w, h], pixels of the frame. scores: (n,) 0..1. points: (n, joints, 3), x and y in pixels of the
    frame and how sure the model is, 0..1; None if a model for them runs later. given: by the user, so all of
    them count. ids: (n,) given by the user, else None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray | None = None
    given: bool = False
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)


def sane(boxes: np.ndarray, scores: np.ndarray, lowest: float) -> np.ndarray:
    """Which rows are boxes of the wanted score with finite numbers and a size: a mask (n,)."""
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        return finite & (scores >= lowest) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
