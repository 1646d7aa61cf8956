"""OpenPose's BODY_25, by its documentation of the output format."""

import collections

NAME = "openpose-body-25"
JOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "mid_hip",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear",
    "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)
EDGES = (
    (1, 8), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13), (13, 14), (1, 0),
    (0, 15), (15, 17), (0, 16), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
)


def _by_distance(start):
    """All other joints, nearest along the edges first."""
    order, queue = [], collections.deque([start])
    while queue:
        joint = queue.popleft()
        order.append(joint)
        for edge in EDGES:
            if joint in edge:
                other = edge[1 - edge.index(joint)]
                if other not in order and other not in queue:
                    queue.append(other)
    return tuple(order[1:])


NEAREST = tuple(_by_distance(k) for k in range(len(JOINTS)))
