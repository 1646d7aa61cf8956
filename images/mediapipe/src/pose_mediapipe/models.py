"""Model files on disk and a small pool of interpreters to run one on several pictures at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from pose_mediapipe.errors import EngineError, Failure

DETECTOR_FILE = "pose_detection.tflite"
LANDMARK_FILE = "pose_landmark_full.tflite"
MODELS_VARIABLE = "POSE_MODELS_DIR"


@dataclass(frozen=True)
class ModelFile:
    """A model and the digest of the bytes that were really loaded."""

    name: str
    sha256: str
    content: bytes


def models_dir() -> Path:
    """The folder of the model files; the image sets the variable."""
    return Path(os.environ.get(MODELS_VARIABLE, "models"))


def read_model(folder: Path, name: str) -> ModelFile:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise EngineError(Failure.MODEL_UNREADABLE, f"cannot read model {name} in {folder}: {error.strerror}") from None
    return ModelFile(name, hashlib.sha256(content).hexdigest(), content)


class ModelPool:
    """One single-threaded interpreter for each worker.

    People and tiles are independent, so running them side by side uses the cores better than threads inside a model.
    """

    def __init__(self, model: ModelFile, executor: ThreadPoolExecutor, workers: int) -> None:
        self._executor = executor
        self._idle: SimpleQueue[Interpreter] = SimpleQueue()
        for _ in range(workers):
            interpreter = Interpreter(model_content=model.content, num_threads=1)
            interpreter.allocate_tensors()
            self._idle.put(interpreter)

    def map(self, work: Callable[[Callable[[np.ndarray], list[np.ndarray]], object], object], items: Sequence) -> list:
        """work(infer, item) for each item; infer takes one input tensor and gives the outputs. Keeps the order."""
        return list(self._executor.map(lambda item: self._with_interpreter(work, item), items))

    def _with_interpreter(self, work, item):
        interpreter = self._idle.get()
        try:
            return work(lambda tensor: _infer(interpreter, tensor), item)
        finally:
            self._idle.put(interpreter)


def _infer(interpreter: Interpreter, tensor: np.ndarray) -> list[np.ndarray]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))
