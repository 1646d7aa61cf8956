"""One JSON file of OpenPose to people of one frame. Pure, but for reading the file; the file is outside input.

The format (OpenPose's doc/02_output.md): {"version": ..., "people": [{"pose_keypoints_2d": [x, y, score, ...], ...}]}, pixels of
the video, 25 joints with BODY_25; a joint that was not found is 0, 0, 0.
"""

import collections
import json
import math

from pose_openpose import skeleton
from pose_openpose.report import EngineError, Failure

MAX_BYTES = 8 << 20
MAX_PEOPLE = 1000  # in one frame, as many as pose.json may hold
LEAST_JOINTS = 4  # fewer say nothing about where somebody is
MARGIN = 0.1  # of the joints' extent: bodies reach beyond their joints
NUMBERS = 3 * len(skeleton.JOINTS)

Person = collections.namedtuple("Person", "box score joints")
Person.__doc__ = """Somebody in one frame. box: (left, top, width, height) pixels. score: 0..1, mean of the joints'.
joints: 25 times (x, y, visibility)."""


def invalid(name, message):
    return EngineError(Failure.RESULT_INVALID, "{} of OpenPose: {}".format(name, message))


def read_people(path, width, height):
    """The people in a file of one frame; width and height of the frame in pixels."""
    with open(str(path), "rb") as file:
        content = file.read(MAX_BYTES + 1)
    return parse_people(path.name, content, width, height)


def parse_people(name, content, width, height):
    if len(content) > MAX_BYTES:
        raise invalid(name, "larger than {} MiB".format(MAX_BYTES >> 20))
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as failure:
        raise invalid(name, "no JSON: {}".format(failure)) from None
    people = document.get("people") if isinstance(document, dict) else None
    if not isinstance(people, list) or len(people) > MAX_PEOPLE:
        raise invalid(name, "expected a list people of at most {}".format(MAX_PEOPLE))
    found = [_person(name, k, entry, width, height) for k, entry in enumerate(people)]
    return [person for person in found if person is not None]


def _person(name, k, entry, width, height):
    numbers = entry.get("pose_keypoints_2d") if isinstance(entry, dict) else None
    if not isinstance(numbers, list) or len(numbers) != NUMBERS:
        have = len(numbers) if isinstance(numbers, list) else "none"
        raise invalid(name, "people[{}].pose_keypoints_2d: expected {} numbers of BODY_25, found {}: leave --model_pose at "
                            "BODY_25".format(k, NUMBERS, have))
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in numbers):
        raise invalid(name, "people[{}].pose_keypoints_2d holds something that is no finite number".format(k))
    joints = [(_within(numbers[i], width), _within(numbers[i + 1], height), min(max(float(numbers[i + 2]), 0.0), 1.0))
              for i in range(0, NUMBERS, 3)]
    found = [joint for joint in joints if joint[2] > 0]
    if len(found) < LEAST_JOINTS:
        return None
    box = _box(found, width, height)
    return box and Person(box, sum(j[2] for j in joints) / len(joints), _completed(joints))


def _within(value, size):
    """Rule R10 of docs/pose-json.md."""
    return min(max(float(value), -2.0 * size), 3.0 * size)


def _box(found, width, height):
    """Around the joints, with a margin; None if nothing of it is in the picture, or it has no extent."""
    xs, ys = [j[0] for j in found], [j[1] for j in found]
    room = MARGIN * max(max(xs) - min(xs), max(ys) - min(ys))
    left, top = min(xs) - room, min(ys) - room
    w, h = min(max(xs) + room - left, 3.0 * width), min(max(ys) + room - top, 3.0 * height)
    if w < 1 or h < 1 or left >= width - 0.1 or top >= height - 0.1 or left + w <= 0.1 or top + h <= 0.1:
        return None
    return left, top, w, h


def _completed(joints):
    """A joint that was not found takes the place of the nearest along the skeleton that was: a best guess, visibility 0."""
    whole = []
    for k, joint in enumerate(joints):
        if joint[2] <= 0:
            near = next(joints[other] for other in skeleton.NEAREST[k] if joints[other][2] > 0)
            joint = (near[0], near[1], 0.0)
        whole.append(joint)
    return whole
