"""Compares two results in upstream's form: compare.py UPSTREAM_PKL ADAPTER_PKL. Prints one line; exit 1 if they differ."""

from __future__ import annotations

import sys

import joblib
import numpy as np

NUMBERS = ("bbox", "conf", "center", "scale", "camera", "camera_bbox", "3d_joints", "2d_joints")
SMPL = ("global_orient", "body_pose", "betas")


def difference(theirs: dict, mine: dict) -> float:
    """The largest difference of any number of one frame's entries, people matched by id."""
    order = {tid: k for k, tid in enumerate(mine["tid"])}
    worst = 0.0
    for k, tid in enumerate(theirs["tid"]):
        pairs = [(theirs[key][k], mine[key][order[tid]]) for key in NUMBERS]
        pairs += [(theirs["smpl"][k][key], mine["smpl"][order[tid]][key]) for key in SMPL]
        worst = max([worst] + [float(np.max(np.abs(np.asarray(a, float) - np.asarray(b, float)))) for a, b in pairs])
    return worst


def main() -> int:
    theirs, mine = (joblib.load(path) for path in sys.argv[1:3])
    if sorted(theirs) != sorted(mine):
        print(f"other frames: {len(theirs)} and {len(mine)}")
        return 1
    worst, sightings = 0.0, 0
    for name in sorted(theirs):
        if sorted(theirs[name]["tid"]) != sorted(mine[name]["tid"]):
            print(f"other people in {name}: {theirs[name]['tid']} and {mine[name]['tid']}")
            return 1
        masks = dict(zip(mine[name]["tid"], mine[name]["mask"]))
        if any(masks[tid] != mask for tid, mask in zip(theirs[name]["tid"], theirs[name]["mask"])):
            print(f"other masks in {name}")
            return 1
        worst, sightings = max(worst, difference(theirs[name], mine[name])), sightings + len(theirs[name]["tid"])
    print(f"{len(theirs)} frames, {sightings} sightings: same ids and masks, largest difference of any number {worst:.3g}")
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
