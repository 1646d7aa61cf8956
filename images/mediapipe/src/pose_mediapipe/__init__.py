"""CPU pose engine: people of a video as tracked MediaPipe skeletons in a pose.json file."""

__version__ = "0.1.0"
ENGINE_NAME = "mediapipe"
