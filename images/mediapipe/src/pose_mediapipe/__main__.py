"""python -m pose_mediapipe"""

import sys

from pose_mediapipe.cli import main

sys.exit(main())
