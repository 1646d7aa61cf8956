"""Builds a model without its random first values and fills it from a checkpoint, one tensor at a time.

Upstream builds every model in host memory, draws random numbers for all of it, reads the checkpoint beside it, copies,
and moves everything to the GPU at the very end. Here parameters are born on torch's meta device, which holds no memory;
each gets its values from the mapped checkpoint and goes to its device at once. The values are the same.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Tuple

from pose_phalp.checkpoint import LazyTensor
from pose_phalp.errors import EngineError, Failure


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Within it every new parameter holds shape and type only. Buffers keep the values that constructors compute."""
    import torch
    original = torch.nn.Module.register_parameter

    def register(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        original(module, name, parameter)

    torch.nn.Module.register_parameter = register
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = original


@dataclass
class Filled:
    """What a checkpoint did for a model: names that it lacked, and names that the model had no place for."""

    missing: List[str] = field(default_factory=list)
    unexpected: List[str] = field(default_factory=list)


def fill(model: Any, tensors: Dict[str, Any], device: Any, what: str) -> Filled:
    """Gives every parameter and buffer of the model its values from tensors (by name) and moves it to device.

    A parameter without values stays on the meta device and is listed as missing; a buffer without values keeps those it
    has. A tensor of another shape is an error. what names the checkpoint in errors.
    """
    import torch
    result, used, done = Filled(), set(), {}

    def place(name: str, old: Any) -> Any:
        if id(old) in done:  # one tensor under two names
            used.add(name)
            return done[id(old)][1]
        if name in tensors:
            used.add(name)
            new = _to_device(tensors[name], old, name, device, what)
        elif old.device.type == "meta":
            result.missing.append(name)
            return old
        else:
            new = old.detach().to(device)
        done[id(old)] = (old, new)
        return new

    with torch.no_grad():
        for prefix, module in model.named_modules():
            for slots, wrap in ((module._parameters, True), (module._buffers, False)):
                for name, old in slots.items():
                    if old is not None:
                        new = place(f"{prefix}.{name}" if prefix else name, old)
                        slots[name] = _parameter(new) if wrap else new
    result.unexpected = sorted(set(tensors) - used)
    return result


def _parameter(tensor: Any) -> Any:
    import torch
    return tensor if isinstance(tensor, torch.nn.Parameter) else torch.nn.Parameter(tensor, requires_grad=False)


def _to_device(stored: Any, old: Any, name: str, device: Any, what: str) -> Any:
    """The stored values as the model's type on the device; on a CPU without a copy where the file allows."""
    if tuple(stored.shape) != tuple(old.shape):
        raise EngineError(Failure.MODEL_UNREADABLE, f"{what} has {name} with shape {list(stored.shape)}, but the model of this "
                          f"image wants {list(old.shape)}: the checkpoint belongs to another version of the model")
    return _torch_tensor(stored, own=device.type != "cpu").to(dtype=old.dtype).to(device)


def _torch_tensor(stored: Any, own: bool) -> Any:
    import torch
    if not isinstance(stored, LazyTensor):
        return stored if isinstance(stored, torch.Tensor) else torch.from_numpy(stored)
    array = stored.array(own)
    if not array.flags.writeable:
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if stored.dtype == "bf16" else tensor


def require_all(filled: Filled, what: str) -> None:
    """Fails if a parameter got no values: upstream would go on with random numbers in its place."""
    if filled.missing:
        names = ", ".join(filled.missing[:3]) + (", ..." if len(filled.missing) > 3 else "")
        raise EngineError(Failure.MODEL_UNREADABLE, f"{what} lacks {len(filled.missing)} of the model's parameters ({names}): it "
                                                    "belongs to another model or version")


def strip(tensors: Dict[str, Any], keep: Callable[[str], Tuple[bool, str]]) -> Dict[str, Any]:
    """Those tensors that keep says yes to, under the name that it gives them."""
    chosen = {}
    for name, tensor in tensors.items():
        wanted, renamed = keep(name)
        if wanted:
            chosen[renamed] = tensor
    return chosen
