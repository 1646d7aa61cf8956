"""Adapter for OpenPose: starts the program of the user's image, reads its JSON files, writes pose.json in two dimensions."""

__version__ = "0.1.0"
ENGINE_NAME = "openpose"
