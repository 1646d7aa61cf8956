"""Pose engines for ONNX models: YOLO-pose, and RTMPose with a person detector. Writes a pose.json file."""

__version__ = "0.1.0"
