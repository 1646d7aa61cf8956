"""Stand-in for torch: arrays of numpy that know a device, and modules that hold them."""

import os

import numpy as np

from . import nn, utils  # noqa: F401
from ._tensor import (  # noqa: F401
    BoolStorage,
    FloatStorage,
    LongStorage,
    Tensor,
    device,
    from_numpy,
    tensor,
    zeros,
)

__version__ = "0.0.0+standin"
float = np.dtype("f4")
long = np.dtype("i8")


class version:
    cuda = None


class cuda:
    @staticmethod
    def is_available():
        return os.environ.get("STANDIN_GPU") == "1"

    @staticmethod
    def empty_cache():
        print("torch gives memory back", flush=True)

    @staticmethod
    def max_memory_allocated():
        return 5 << 20


class OutOfMemoryError(RuntimeError):
    pass


class no_grad:
    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return False


def load(path, **_named):
    raise RuntimeError(f"the stand-in reads no {path}: the adapter should have")
