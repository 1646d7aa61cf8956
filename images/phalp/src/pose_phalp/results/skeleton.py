"""The 45 joints that PHALP reports, and the 24 of the SMPL model.

The 45 are, in this order: OpenPose's BODY_25, made of SMPL's joints and of single vertices; 19 points regressed from the
mesh, named for the data set that defines them (SPIN's list without its last five); and the model's own origin.
"""

from __future__ import annotations

NAME = "smpl-45"

JOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    "lsp_right_ankle", "lsp_right_knee", "lsp_right_hip", "lsp_left_hip", "lsp_left_knee", "lsp_left_ankle",
    "lsp_right_wrist", "lsp_right_elbow", "lsp_right_shoulder", "lsp_left_shoulder", "lsp_left_elbow", "lsp_left_wrist",
    "lsp_neck", "lsp_head_top", "mpii_pelvis", "mpii_thorax", "h36m_spine", "h36m_jaw", "h36m_head",
    "smpl_origin",
)

_LINES = (
    ("neck", "mid_hip"), ("neck", "nose"), ("neck", "lsp_head_top"),
    ("nose", "right_eye"), ("right_eye", "right_ear"), ("nose", "left_eye"), ("left_eye", "left_ear"),
    ("neck", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("neck", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("mid_hip", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("mid_hip", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("left_ankle", "left_heel"), ("left_ankle", "left_big_toe"), ("left_big_toe", "left_small_toe"),
    ("right_ankle", "right_heel"), ("right_ankle", "right_big_toe"), ("right_big_toe", "right_small_toe"),
)
EDGES = tuple((JOINTS.index(a), JOINTS.index(b)) for a, b in _LINES)

RIGHT_HIP, LEFT_HIP = JOINTS.index("right_hip"), JOINTS.index("left_hip")

SMPL_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3",
    "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
