#!/usr/bin/env python3
"""A stand-in for OpenPose's program, for tests: takes its options, and writes files of its documented output format.

It looks at no picture. Environment: STAND_IN_FRAMES (how many files), STAND_IN_MODE, one of
  ok, load-crash, crash (SIGSEGV after two frames), exit (code 1 after two frames), gap (a frame is left out), not-json,
  coco (18 joints), hang, polite (waits after each frame until the file before it is gone).
Person 1 walks to the right, person 2 to the left, on the same line; person 1 is missing in frames 5 and 6.
"""

import json
import os
import signal
import sys
import time

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert options["--display"] == "0" and options["--render_pose"] == "0" and options["--model_pose"] == "BODY_25", options
assert options["--model_folder"].endswith("/"), options
folder, mode = options["--write_json"], os.environ.get("STAND_IN_MODE", "ok")
print("Starting OpenPose demo...", flush=True)
if mode == "load-crash":
    print("Cuda check failed (2 vs. 0): out of memory", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGABRT)


def body(x, y, lost=()):
    numbers = []
    for k in range(18 if mode == "coco" else 25):
        numbers += [0, 0, 0] if k in lost else [x + 3 * (k % 4), y + 5 * k, 0.8]
    return {"person_id": [-1], "pose_keypoints_2d": numbers, "face_keypoints_2d": [], "hand_left_keypoints_2d": [],
            "hand_right_keypoints_2d": [], "pose_keypoints_3d": []}


for n in range(int(os.environ.get("STAND_IN_FRAMES", "12"))):
    if mode == "gap" and n == 3:
        continue
    people = [body(260 - 8 * n, 60, lost=(15, 16))] + ([] if n in (5, 6) else [body(20 + 8 * n, 50)])
    people.append(dict(body(1, 1), pose_keypoints_2d=[9, 9, 0.1] + [0] * (51 if mode == "coco" else 72)))  # one joint: nobody
    text = "{" if mode == "not-json" else json.dumps({"version": 1.3, "people": people})
    name = "{}_{:012d}_keypoints.json".format(os.path.splitext(os.path.basename(options["--video"]))[0], n)
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
    before = os.path.join(folder, name.replace("{:012d}".format(n), "{:012d}".format(n - 1)))
    for _ in range(600 if mode == "polite" else 0):
        if not os.path.exists(before):
            break
        time.sleep(0.05)
    else:
        if mode == "polite":
            sys.exit(9)
    if n == 1 and mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if n == 1 and mode == "exit":
        print("Error: model file not found", file=sys.stderr)
        sys.exit(1)
    if n == 1 and mode == "hang":
        time.sleep(600)
