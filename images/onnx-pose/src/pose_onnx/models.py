"""Model files: read with bounds, checked for what they are, loaded into ONNX Runtime, tried once.

What a model takes and gives is checked against what its family needs before a frame is read, on the shapes that a first
run really has: those written in the file may be names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from pose_onnx import wire
from pose_onnx.errors import EngineError, Failure, one_line

MAX_BYTES = 1 << 30  # the largest published pose model takes less than a third
MAX_SIDE = 4096  # pixels of a model's input
STRIDE = 32  # the coarsest grid of all these models; a side must be a multiple of it
DEFAULT_SIDE = 640  # for a model whose input may have any size and that does not say which
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_NO_MEMORY = ("bad allocation", "failed to allocate", "out of memory", "bfcarena")


@dataclass(frozen=True)
class ModelFile:
    """A model and the digest of the bytes that were really loaded."""

    name: str
    sha256: str
    content: bytes


def unreadable(message: str) -> EngineError:
    return EngineError(Failure.MODEL_UNREADABLE, message)


def read_model(path: Path) -> ModelFile:
    """The file's bytes, refused where they are too many, are no ONNX model or name other files."""
    try:
        if not path.is_file():
            raise unreadable(f"model {path} is missing or no regular file: mount the volume with the model there, "
                             "or correct the option")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(f"cannot read model {path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise unreadable(f"model {path} is larger than {MAX_BYTES >> 20} MiB")
    try:
        if wire.has_external_data(content):
            raise unreadable(f"model {path} keeps weights in other files, which are not read: export it as one file "
                             "(onnx.save with save_as_external_data=False)")
    except wire.NotONNXError as error:
        raise unreadable(f"{path} is no ONNX model ({error}): an ONNX export is needed, not a .pt or .pth file") from None
    return ModelFile(path.name, hashlib.sha256(content).hexdigest(), content)


class Model:
    """A loaded model with one picture input: (batch, 3, height, width), float32 or float16."""

    def __init__(self, file: ModelFile, device: str, threads: int) -> None:
        self.file = file
        self._session = _open_session(file, device, threads)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name} {i.type} {_shape_text(i.shape)}" for i in inputs) or "none"
            raise unreadable(f"model {file.name}: expected one input of float or float16 (1, 3, height, width), found {found}")
        self._input = inputs[0]
        self._dtype = _TYPES[inputs[0].type]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        batch, self.input_size = self._check_input(inputs[0].shape)
        # Python's runtime gives names, or None, for sides that may vary.
        self.any_batch = not isinstance(batch, int)

    def _check_input(self, shape: Sequence) -> tuple[object, tuple[int, int]]:
        batch, channels, height, width = shape
        name = self.file.name
        if (isinstance(batch, int) and batch != 1) or (isinstance(channels, int) and channels != 3):
            raise unreadable(f"model {name}: expected input (1, 3, height, width), found {_shape_text(shape)}: "
                             "export it for a batch of one, or of any size, of three-channel pictures")
        if not isinstance(height, int) or not isinstance(width, int):
            height, width = self._default_size()
        if not all(STRIDE <= side <= MAX_SIDE and side % STRIDE == 0 for side in (height, width)):
            raise unreadable(f"model {name}: expected an input with sides of {STRIDE} to {MAX_SIDE} pixels in steps of "
                             f"{STRIDE}, found {height} high and {width} wide")
        return batch, (width, height)

    def _default_size(self) -> tuple[int, int]:
        """Height and width to use where the model takes any: what an exporter noted as imgsz, else a square."""
        noted = [int(word) for word in self.metadata.get("imgsz", "").strip("[] ").split(",") if word.strip().isdecimal()]
        return (noted[0], noted[1]) if len(noted) == 2 else (DEFAULT_SIDE, DEFAULT_SIDE)

    @property
    def staged(self) -> bool:
        """Whether the file says that its weights are random: such a model is for tests, and its poses mean nothing."""
        return self.metadata.get("weights") == "random"

    @property
    def runs_on_gpu(self) -> bool:
        return "CUDAExecutionProvider" in self._session.get_providers()

    def try_out(self) -> list[np.ndarray]:
        """Outputs for one blank picture: shows shapes, and that the device can run it."""
        return self.run(np.zeros((1, 3, self.input_size[1], self.input_size[0]), np.float32))

    def run(self, pictures: np.ndarray) -> list[np.ndarray]:
        """Outputs for float32 pictures (n, 3, height, width), in the model's order; floating point ones as float32."""
        try:
            outputs = self._session.run(None, {self._input.name: pictures.astype(self._dtype, copy=False)})
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise _run_failure(self.file.name, error) from None
        if not all(isinstance(o, np.ndarray) for o in outputs):
            raise unreadable(f"model {self.file.name}: expected outputs that are tensors, found others")
        return [o.astype(np.float32, copy=False) if o.dtype.kind == "f" else o for o in outputs]


def _open_session(file: ModelFile, device: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Named, because the default would pin a thread to each core of the node.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait would spin, which eats a container's CPU share and stalls it where cores are few or shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"]
    if device == "gpu":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise EngineError(Failure.GPU_UNAVAILABLE, "this image's ONNX Runtime has no CUDA: build the image for GPUs "
                                                       "(images/onnx-pose/README.md), or use a CPU variant")
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        providers.insert(0, "CUDAExecutionProvider")
    try:
        session = onnxruntime.InferenceSession(file.content, options, providers=providers)
    except Exception as error:  # the runtime's exceptions share no base of their own
        raise _run_failure(file.name, error) from None
    if device == "gpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError(Failure.GPU_UNAVAILABLE, "ONNX Runtime could not use the GPU: look above for its own words on CUDA "
                                                   "and cuDNN; the node's driver must fit the image's CUDA")
    return session


def _run_failure(name: str, error: Exception) -> EngineError:
    words = one_line(str(error))
    if any(sign in words.lower() for sign in _NO_MEMORY):
        return EngineError(Failure.INTERNAL, "out of memory")
    return unreadable(f"ONNX Runtime cannot run model {name}: {words}")


def _shape_text(shape: Sequence) -> str:
    return one_line("(" + ", ".join(str(side) if side is not None else "?" for side in shape) + ")", 120)


def shapes_text(outputs: list[np.ndarray]) -> str:
    """Shapes of outputs, for a message."""
    return ", ".join(_shape_text(o.shape) for o in outputs[:8]) or "none"
