"""Loads all models and says how much memory that took at its peak.

    load_memory.py upstream TRACK_PY HOME vitdet|maskrcnn        upstream's order, everything on the CPU
    load_memory.py adapter  cpu|meta HOME vitdet|maskrcnn        the adapter

meta: torch's meta device as a stand-in for the move to a GPU; each tensor is read and then dropped, so the host's side shows.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import paths

MIB = 1 << 10  # /proc counts in KiB


def resident() -> dict[str, int]:
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {f[0].rstrip(":"): int(f[1]) for f in fields if f and f[0] in ("VmHWM:", "RssAnon:", "RssFile:")}


class Watch:
    """The largest anonymous memory, which the kernel cannot take back; looked at fifty times a second."""

    def __init__(self) -> None:
        self.anonymous = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, resident()["RssAnon"])
            time.sleep(0.02)


def upstream(script: Path, detector: str) -> None:
    import upstream_run
    with tempfile.TemporaryDirectory() as folder:  # upstream makes folders in its output while it loads
        upstream_run.build(script, Path(folder), detector)


def adapter(device: str, detector: str) -> None:
    from pose_phalp import image, models, run
    files = run.check_weights(detector, False)
    image.prepare("")
    import torch
    image.stay_on_cpu()
    image.trusting_load()
    config = models.make_config({"device": device, "phalp": {"detector": detector}, "render": {"enable": False},
                                 "video": {"source": "video"}})
    models.make_tracker(config, torch.device(device), run.places(files), True, run.ASPECT)


def main() -> None:
    what, where, home, detector = sys.argv[1:5]
    paths.use(Path(home).resolve())
    watch, begin = Watch(), time.monotonic()
    upstream(Path(where).resolve(), detector) if what == "upstream" else adapter(where, detector)
    seconds = time.monotonic() - begin
    now = resident()
    print(f"LOADED peak_mib={now['VmHWM'] // MIB} anonymous_peak_mib={watch.anonymous // MIB} seconds={seconds:.0f}", flush=True)


if __name__ == "__main__":
    main()
