"""python -m pose_phalp"""

import sys

from pose_phalp.cli import main

sys.exit(main())
