"""Stand-in for detectron2: only its name is imported."""
