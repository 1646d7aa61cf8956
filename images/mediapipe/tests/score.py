"""How well a result agrees with boxes that a person drew: precision, recall, id switches, IDF1, and frames a second of one core.

    python tests/score.py VIDEO [--result pose.json] [--full]

The truth is tests/truth/*.json (README there). A person is found where a reported box overlaps the drawn one by at least
IOU; boxes are paired one to one. Boxes marked `ignore` count neither way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SOURCES = Path(__file__).resolve().parents[1] / "src"
TRUTH = Path(__file__).resolve().parent / "truth"
sys.path.insert(0, str(SOURCES))

from pose_mediapipe.assign import FORBIDDEN, match  # noqa: E402
from pose_mediapipe.geometry import iou  # noqa: E402

IOU = 0.4

Boxes = dict[int, list[float]]  # id -> [x, y, w, h] in pixels


@dataclass(frozen=True)
class Drawn:
    """One frame as drawn: the people to be found, and boxes that count neither way."""

    index: int
    people: Boxes
    ignored: list[list[float]]


@dataclass
class Score:
    """Counts over frames. pairs: how often a drawn person (sequence, id) was paired with a reported id."""

    drawn: int = 0
    reported: int = 0
    found: int = 0
    switches: int = 0
    pairs: Counter = field(default_factory=Counter)
    seen: Counter = field(default_factory=Counter)
    missed: list[tuple[int, int]] = field(default_factory=list)
    wrong: list[tuple[int, int]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.found / max(self.reported, 1)

    @property
    def recall(self) -> float:
        return self.found / max(self.drawn, 1)

    @property
    def idf1(self) -> float:
        """Twice the frames in which identities agree, over all drawn and reported boxes (Ristani et al., 2016).

        Identities are paired one to one within a sequence so that they agree in the most frames.
        """
        agree = sum(_best_identities(self.pairs, sequence) for sequence in {key[0] for key in self.pairs})
        return 2 * agree / max(self.drawn + self.reported, 1)

    def add(self, other: Score) -> None:
        for name in ("drawn", "reported", "found", "switches"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.pairs.update(other.pairs)
        self.missed += other.missed
        self.wrong += other.wrong


def _best_identities(pairs: Counter, sequence: object) -> int:
    mine = {(drawn, given): n for (where, drawn, given), n in pairs.items() if where == sequence}
    rows, columns = sorted({d for d, _ in mine}), sorted({g for _, g in mine})
    costs = [[-mine.get((row, column), 0) for column in columns] for row in rows]
    return sum(-int(costs[r][c]) for r, c in match(costs, skip_cost=0))


def read_truth(path: Path) -> list[list[Drawn]]:
    """The sequences of a truth file."""
    def frame(entry: dict) -> Drawn:
        counted = {b["id"]: b["bbox"] for b in entry["boxes"] if not b.get("ignore")}
        return Drawn(entry["index"], counted, [b["bbox"] for b in entry["boxes"] if b.get("ignore")])

    return [[frame(entry) for entry in sequence] for sequence in json.loads(path.read_text("utf-8"))["sequences"]]


def reported_boxes(document: dict) -> Callable[[int], Boxes]:
    """A frame's reported boxes by its number in the whole video."""
    frames, start = document["frames"], document["video"]["startFrame"]
    return lambda number: {p["id"]: p["bbox"] for p in frames[number - start]["people"]}


def pair(drawn: Boxes, reported: Boxes, least: float = IOU) -> dict[int, int]:
    """Drawn id -> reported id: as many pairs as possible, and of those choices the one with the greatest overlap."""
    rows, columns = list(drawn), list(reported)
    overlaps = [[iou(np.array(drawn[r]), np.array(reported[c])) for c in columns] for r in rows]
    costs = [[-1 - overlap / (len(rows) + 1) if overlap >= least else FORBIDDEN for overlap in row] for row in overlaps]
    return {rows[r]: columns[c] for r, c in match(costs, skip_cost=0)}


def score_sequence(name: object, sequence: list[Drawn], reported: Callable[[int], Boxes], least: float = IOU) -> Score:
    score, last = Score(), {}
    for frame in sequence:
        boxes = reported(frame.index)
        pairs = pair(frame.people, boxes, least)
        rest = {i: box for i, box in boxes.items() if i not in pairs.values()}
        unjudged = {i for i, box in rest.items() if any(_covers(other, box) for other in frame.ignored)}
        score.drawn += len(frame.people)
        score.reported += len(boxes) - len(unjudged)
        score.found += len(pairs)
        score.missed += [(frame.index, d) for d in frame.people if d not in pairs]
        score.wrong += [(frame.index, i) for i in rest if i not in unjudged]
        for drawn, given in pairs.items():
            score.pairs[(name, drawn, given)] += 1
            score.switches += last.get(drawn, given) != given
            last[drawn] = given
    return score


def _covers(area: list[float], box: list[float]) -> bool:
    """Whether the box lies to at least a third within the area, or is the same."""
    width = min(area[0] + area[2], box[0] + box[2]) - max(area[0], box[0])
    height = min(area[1] + area[3], box[1] + box[3]) - max(area[1], box[1])
    return width > 0 and height > 0 and width * height > box[2] * box[3] / 3


def score_split(sequences: list[list[Drawn]], reported: Callable[[int], Boxes], least: float = IOU) -> Score:
    total = Score()
    for number, sequence in enumerate(sequences):
        total.add(score_sequence(number, sequence, reported, least))
    return total


def run_engine(video: Path, folder: Path, *options: str) -> tuple[dict, float]:
    """The engine's result on the video, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "pose_mediapipe", "--video", str(video), "--output-dir", str(folder),
                    "--overlay", "none", *options], env=os.environ | {"PYTHONPATH": str(SOURCES)}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads((folder / "pose.json").read_text("utf-8")), spent


def table(document: dict, full: bool) -> str:
    lines = [f"{'split':<10} {'frames':>6} {'drawn':>5} {'precision':>9} {'recall':>6} {'switches':>8} {'IDF1':>6}"]
    for path in sorted(TRUTH.glob("*.json")):
        sequences = read_truth(path)
        score = score_split(sequences, reported_boxes(document))
        lines.append(f"{path.stem:<10} {sum(map(len, sequences)):>6} {score.drawn:>5} {score.precision:>9.3f} "
                     f"{score.recall:>6.3f} {score.switches:>8} {score.idf1:>6.3f}")
        if full:
            lines += [f"  missed (frame, drawn id): {score.missed}", f"  wrong (frame, reported id): {score.wrong}"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path, help="the video that the truth was drawn on")
    parser.add_argument("--result", type=Path, help="score this pose.json; without it the engine is run")
    parser.add_argument("--full", action="store_true", help="also list every miss and every wrong box")
    given = parser.parse_args()
    if given.result:
        print(table(json.loads(given.result.read_text("utf-8")), given.full))
        return
    with tempfile.TemporaryDirectory() as folder:
        document, seconds = run_engine(given.video, Path(folder))
    print(table(document, given.full))
    print(f"{document['video']['frames'] / seconds:.2f} frames a second of one core ({seconds:.0f} CPU seconds)")


if __name__ == "__main__":
    main()
