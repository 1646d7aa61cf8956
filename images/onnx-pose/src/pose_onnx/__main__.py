"""Run as `python -m pose_onnx`."""

import sys

from pose_onnx.cli import main

sys.exit(main())
