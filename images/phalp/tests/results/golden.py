"""Writes the small result that the operator's own tests read: python tests/results/golden.py ../../internal/result/testdata/phalp

Twelve frames of a slow-motion video with two people of our own making: one is lost for two frames, the other appears late.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import standin_smpl as standin  # noqa: E402 - found through the path above

from pose_phalp.results import write  # noqa: E402


def frames():
    """What the engine would have said."""
    rng = np.random.default_rng(11)
    first = dict(standin.walk(12, lose=(4, 5)))
    for index in range(12):
        people = [first[index]]
        if index >= 3:
            people.append(standin.seen(4, (560, 280), 180, rng, betas=np.linspace(1, -1, 10), weak=0.8))
        yield standin.frame(index, *people, time=0.7 + index / 30)


def main(folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    write(frames(), standin.meta(12, fps=30.0, capture_fps=120.0, people_filtered=2), folder)


if __name__ == "__main__":
    main(sys.argv[1])
