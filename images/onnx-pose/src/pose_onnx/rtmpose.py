"""RTMPose: the joints of each person from a picture of that person alone.

Facts of the exports (MMPose's configuration files, MMDeploy): input (batch, 3, H, W), RGB less its mean over its deviation,
of the person's box grown by a quarter and to the input's proportions, mostly 256 high and 192 wide. Outputs simcc_x
(batch, K, 2 W) and simcc_y (batch, K, 2 H): for each joint how likely each half pixel of each axis is (SimCC with a split
ratio of 2, Li et al. 2022). K = 17 (COCO), 26 (Halpe, feet added) or 133 (COCO-WholeBody).
"""

from __future__ import annotations

import numpy as np

from pose_onnx import models
from pose_onnx.geometry import PIXEL_CENTRE, Crop
from pose_onnx.people import Found
from pose_onnx.skeleton import SKELETONS, Skeleton

SPLIT = 2  # SimCC bins for each pixel
BATCH = 16  # people in one run, where the model takes several
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # of ImageNet, red, green, blue, 0..255
_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)


class RTMPose:
    """Finds people by a detector, or takes boxes given, and their joints by a model of its own."""

    def __init__(self, model: models.Model, skeleton: Skeleton, detector) -> None:
        """model, skeleton: as check lets them through. detector: has detect(frame) -> Found without joints."""
        self._model, self.skeleton, self._detector = model, skeleton, detector

    def detect(self, frame: np.ndarray) -> Found:
        """People of a BGR frame, without joints."""
        return self._detector.detect(frame)

    def estimate(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Joints (n, K, 3) of the people in the boxes (n, 4) of a BGR frame: x, y in pixels of the frame, and 0..1."""
        crops = [Crop.around(box, self._model.input_size) for box in boxes]
        step = BATCH if self._model.any_batch else 1
        parts = [self._some(frame, crops[k:k + step]) for k in range(0, len(crops), step)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.skeleton.joints), 3))

    def _some(self, frame: np.ndarray, crops: list[Crop]) -> np.ndarray:
        pictures = np.stack([picture(crop.apply(frame)) for crop in crops])
        outputs = self._model.run(pictures)
        if not is_simcc(outputs, len(crops), len(self.skeleton.joints), self._model.input_size):
            raise models.unreadable(f"the model's outputs changed their shapes to {models.shapes_text(outputs)}")
        found, sureness = decode(outputs[0], outputs[1])
        placed = np.stack([crop.to_frame(points) for crop, points in zip(crops, found, strict=True)]) + PIXEL_CENTRE
        return np.concatenate([placed, sureness[:, :, None]], axis=2)


def check(model: models.Model) -> Skeleton:
    """Runs the model once. Its joints, or EngineError where it is no RTMPose model."""
    outputs = model.try_out()
    width, height = model.input_size
    counts = sorted(SKELETONS)
    if not any(is_simcc(outputs, 1, joints, model.input_size) for joints in counts):
        raise models.unreadable(
            f"model {model.file.name}: expected outputs simcc_x (1, K, {SPLIT * width}) and simcc_y "
            f"(1, K, {SPLIT * height}) with K one of {', '.join(map(str, counts))} joints, found {models.shapes_text(outputs)}")
    return SKELETONS[outputs[0].shape[1]]


def picture(crop: np.ndarray) -> np.ndarray:
    """One input (3, H, W) from BGR bytes."""
    return ((crop[:, :, ::-1].astype(np.float32) - _MEAN) / _DEVIATION).transpose(2, 0, 1)


def is_simcc(outputs: list[np.ndarray], batch: int, joints: int, input_size: tuple[int, int]) -> bool:
    wanted = [(batch, joints, SPLIT * side) for side in input_size]
    return [o.shape for o in outputs] == wanted


def decode(simcc_x: np.ndarray, simcc_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, K, 2) in pixels of the input, and how sure each is, (n, K), 0..1: the lesser peak of both axes."""
    simcc_x, simcc_y = (np.nan_to_num(s, nan=-1.0) for s in (simcc_x, simcc_y))
    points = np.stack([simcc_x.argmax(axis=2), simcc_y.argmax(axis=2)], axis=-1) / SPLIT
    peaks = np.minimum(simcc_x.max(axis=2), simcc_y.max(axis=2))
    return points, np.clip(peaks, 0, 1)
