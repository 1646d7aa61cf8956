"""Memory does not grow with the length of the video."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harness import HERE, environment, walkers

MEASURE = """
import resource, sys
sys.argv[0] = {runner!r}
try:
    exec(compile(open({runner!r}).read(), {runner!r}, "exec"))
except SystemExit as end:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, end.code)
"""
SLACK = 24 << 10  # KiB: what interpreter and allocator vary by; a frame kept would be 20,000 times 4 kB


def peak(video: Path, folder: Path, home: Path) -> int:
    folder.mkdir()
    command = [sys.executable, "-c", MEASURE.format(runner=str(HERE / "standin_run.py")), "run", "--video", str(video),
               "--output-dir", str(folder), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(home), check=False)
    found = re.search(r"^PEAK (\d+) 0$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-800:]
    return int(found.group(1))


def test_twenty_thousand_frames_take_the_memory_of_one_thousand(home, tmp_path):
    size = (128, 192)
    short = peak(walkers(tmp_path / "short.avi", 1_000, people=1, size=size), tmp_path / "a", home)
    long = peak(walkers(tmp_path / "long.avi", 20_000, people=1, size=size), tmp_path / "b", home)
    assert long - short < SLACK, (short, long)
