"""STAGED: Python reads this at start in the staged image of PHALP.

It lets the stand-ins' small weight files pass for the real ones, and makes their detector die where STANDIN_DIE names a
signal, as SIGSEGV.
"""

import os
import sys
from dataclasses import replace

ADAPTER = "/pose/adapter"

if os.path.isdir(ADAPTER):
    sys.path.insert(0, ADAPTER)
    from pose_phalp import weights

    required = weights.required
    weights.required = lambda *arguments, **named: [replace(f, min_bytes=min(f.min_bytes, 1)) for f in required(*arguments, **named)]

if os.environ.get("STANDIN_DIE"):
    import signal

    from phalp.utils import utils_detectron2

    def die(*_arguments, **_named):
        os.kill(os.getpid(), getattr(signal, os.environ["STANDIN_DIE"]))

    utils_detectron2.instantiate = die
