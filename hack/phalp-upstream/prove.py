"""Runs upstream and the adapter on the same frames of a real video with the same random weights, and prints what came of it.

    prove.py PYTHON TRACK_PY HOME [--video FILE] [--only NAME;...]

PYTHON can import upstream's phalp and hmr2; TRACK_PY is 4D-Humans' track.py; HOME is filled with random weights first, if it
is empty. README.md says how such a Python is made.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import paths

PEDESTRIANS = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
FRAMES = {"maskrcnn": 5, "vitdet": 2, "none": 6}
# Two people of the video's first frames, read off by eye: left, top, width, height in pixels.
WALKERS = [(486, 163, 29, 76), (590, 241, 55, 85)]


@dataclass
class Row:
    """One run: its exit code, what it gave, its peak resident memory in MiB and its seconds."""

    name: str
    code: int
    result: str
    peak: int
    seconds: float


class Bench:
    def __init__(self, python: str, track: Path, home: Path, video: Path) -> None:
        self.python, self.track, self.home, self.video = python, track, home, video
        self.work = home / "proof"
        self.kept = self.work / "rows.json"  # of earlier calls too, so that --only adds to the table
        self.rows = {r["name"]: Row(**r) for r in json.loads(self.kept.read_text())} if self.kept.exists() else {}

    def frames(self, detector: str) -> Path:
        """The first frames of the video, without loss."""
        target = self.work / f"first{FRAMES[detector]}.mp4"
        if not target.exists():
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(self.video), "-frames:v", str(FRAMES[detector]),
                            "-c:v", "libx264", "-qp", "0", str(target)], check=True, stdin=subprocess.DEVNULL)
        return target

    def out(self, name: str) -> Path:
        folder = self.work / re.sub(r"[^a-z0-9]+", "-", name.lower())
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def run(self, name: str, command: list[str], look) -> None:
        """Runs a command and records it. look gives the result in words, from the folder and the log."""
        print(f"... {name}", flush=True)
        folder, begin = self.out(name), time.monotonic()
        log = folder.with_suffix(".log")
        with log.open("wb") as file:
            process = subprocess.Popen([self.python, *(c.replace("OUT", str(folder)) for c in command)], stdout=file,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=paths.environment(self.home))
            _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.rows[name] = Row(name, code, look(folder, log.read_text(errors="replace")), usage.ru_maxrss >> 10,
                              time.monotonic() - begin)
        self.kept.write_text(json.dumps([asdict(r) for r in self.rows.values()]))
        print(f"    {self.rows[name]}", flush=True)

    def upstream(self, name: str, mode: str, detector: str) -> None:
        self.run(name, [str(paths.HERE / "upstream_run.py"), str(self.track), str(self.home), str(self.frames(detector)), "OUT",
                        mode, detector], upstream_result)

    def adapter(self, name: str, detector: str, *options: str) -> None:
        self.run(name, [str(paths.ADAPTER / "pose-phalp"), "run", "--video", str(self.frames(detector)), "--output-dir", "OUT",
                        "--device", "cpu", "--detector", detector, *options], adapter_result)

    def load(self, name: str, *arguments: str) -> None:
        self.run(name, [str(paths.HERE / "load_memory.py"), *arguments], load_result)

    def compare(self, detector: str) -> str:
        mine = self.work / re.sub(r"[^a-z0-9]+", "-", f"adapter {detector}") / "phalp.pkl"
        theirs = self.work / re.sub(r"[^a-z0-9]+", "-", f"upstream shimmed {detector}") / "results/demo_video.pkl"
        if not (mine.exists() and theirs.exists()):
            return f"{detector}: not compared, a run gave no pickle"
        done = subprocess.run([self.python, str(paths.HERE / "compare.py"), str(theirs), str(mine)], capture_output=True, text=True,
                              env=paths.environment(self.home), check=False)
        return f"{detector}: {done.stdout.strip() or done.stderr.strip()[-200:]}"


def last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:110] if lines else "nothing"


def upstream_result(folder: Path, log: str) -> str:
    pickles = list(folder.glob("results/demo_*.pkl"))
    return f"{pickles[0].name}, {pickles[0].stat().st_size} bytes" if pickles else f"no result: {last_words(log)}"


def adapter_result(folder: Path, log: str) -> str:
    if not (folder / "pose.json").exists():
        return f"no result: {last_words(log)}"
    result = json.loads((folder / "pose.json").read_text())
    seen = sum(len(f["people"]) for f in result["frames"])
    return f"pose.json: {len(result['frames'])} frames, {len(result['people'])} people, {seen} sightings"


def load_result(_folder: Path, log: str) -> str:
    found = re.search(r"LOADED .*anonymous_peak_mib=(\d+)", log)
    return f"loaded; {found.group(1)} MiB of the peak cannot be reclaimed" if found else f"failed: {last_words(log)}"


def table(rows: list[Row]) -> str:
    lines = ["| variant | exit | result | peak MiB | seconds |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.name} | {r.code} | {r.result} | {r.peak} | {r.seconds:.0f} |" for r in rows])


def prove(bench: Bench, only: set[str]) -> None:
    bench.work.mkdir(parents=True, exist_ok=True)
    boxes = bench.work / "boxes.json"
    boxes.write_text(json.dumps({"apiVersion": "pose.dev/v1alpha1", "kind": "PoseBoxes", "frames": [
        {"index": i, "boxes": [{"bbox": list(w)} for w in WALKERS]} for i in range(FRAMES["none"])]}))
    steps = [
        ("upstream plain maskrcnn", lambda n: bench.upstream(n, "plain", "maskrcnn")),
        ("upstream shimmed maskrcnn", lambda n: bench.upstream(n, "shimmed", "maskrcnn")),
        ("adapter maskrcnn", lambda n: bench.adapter(n, "maskrcnn", "--keep-pickle")),
        ("adapter boxes", lambda n: bench.adapter(n, "none", "--boxes", str(boxes))),
        ("upstream shimmed vitdet", lambda n: bench.upstream(n, "shimmed", "vitdet")),
        ("adapter vitdet", lambda n: bench.adapter(n, "vitdet", "--keep-pickle")),
        ("load: upstream's order, vitdet", lambda n: bench.load(n, "upstream", str(bench.track), str(bench.home), "vitdet")),
        ("load: adapter on the CPU, vitdet", lambda n: bench.load(n, "adapter", "cpu", str(bench.home), "vitdet")),
        ("load: adapter, stand-in for the move, vitdet", lambda n: bench.load(n, "adapter", "meta", str(bench.home), "vitdet")),
        ("load: adapter, stand-in for the move, maskrcnn", lambda n: bench.load(n, "adapter", "meta", str(bench.home), "maskrcnn")),
    ]
    for name, step in steps:
        if not only or name in only:
            step(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("track", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--video", type=Path, default=PEDESTRIANS)
    parser.add_argument("--only", default="", help="names of variants, separated by semicolons")
    given = parser.parse_args()
    home = given.home.resolve()
    if not (home / ".cache").exists():
        subprocess.run([given.python, str(paths.HERE / "make_weights.py"), str(home)], check=True)
    bench = Bench(given.python, given.track.resolve(), home, given.video)
    prove(bench, {n.strip() for n in given.only.split(";") if n.strip()})
    print("\nStaged: random weights, a body model of the project's own; the people found mean nothing.\n")
    print(table(list(bench.rows.values())))
    print("\nUpstream and adapter on the same frames and weights:")
    for detector in ("maskrcnn", "vitdet"):
        print(f"- {bench.compare(detector)}")


if __name__ == "__main__":
    sys.exit(main())
