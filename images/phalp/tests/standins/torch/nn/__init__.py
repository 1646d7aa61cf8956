import os

import numpy as np

from .._tensor import Tensor


class Parameter(Tensor):
    def __init__(self, tensor, requires_grad=True):
        super().__init__(tensor.data, tensor.device)


class Module:
    def __init__(self):
        self.__dict__.update(_parameters={}, _buffers={}, _modules={})

    def register_parameter(self, name, value):
        self._parameters[name] = value

    def register_buffer(self, name, value):
        self._buffers[name] = value

    def __setattr__(self, name, value):
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._modules[name] = value
        elif name in self.__dict__.get("_modules", {}):
            self._modules[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name):
        for slots in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(slots, {}):
                return self.__dict__[slots][name]
        raise AttributeError(name)

    def __delattr__(self, name):
        self._modules.pop(name) if name in self._modules else object.__delattr__(self, name)

    def named_modules(self, prefix=""):
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def eval(self):
        return self

    def to(self, _device):
        return self

    def cuda(self):
        if os.environ.get("STANDIN_GPU") != "1":
            raise RuntimeError("Found no NVIDIA driver on your system")
        return self


class Identity(Module):
    pass


class Linear(Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = Parameter(Tensor(np.random.rand(outputs, inputs).astype("f4")))
        self.bias = Parameter(Tensor(np.random.rand(outputs).astype("f4")))
