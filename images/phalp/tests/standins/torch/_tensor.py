import numpy as np


class device:
    def __init__(self, name):
        self.type = name.type if isinstance(name, device) else name

    def __str__(self):
        return self.type


class Tensor:
    def __init__(self, data, where="cpu"):
        self.data, self.device = data, device(where)

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)

    def detach(self):
        return self

    def to(self, where=None, dtype=None):
        data = self.data if dtype is None else self.data.astype(dtype, copy=False)
        return Tensor(data, self.device if where is None else where)

    def cpu(self):
        return self

    def cuda(self):
        raise RuntimeError("Found no NVIDIA driver on your system")

    def double(self):
        return Tensor(self.data.astype("f8"))

    def numpy(self):
        return self.data


def from_numpy(array):
    return Tensor(array)


def tensor(values, dtype=None):
    return Tensor(np.array(values, dtype=dtype))


def zeros(*shape, device="cpu"):
    return Tensor(np.zeros(shape, dtype="f4"), device)


class FloatStorage:
    __module__ = "torch"


class LongStorage:
    __module__ = "torch"


class BoolStorage:
    __module__ = "torch"
