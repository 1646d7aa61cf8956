"""Stand-in models, far smaller than real ones, that find red things: what they must answer is known to the pixel.

They have the inputs and outputs of their families, so they prove colours, scaling, padding and cropping on a whole run.
"""

from __future__ import annotations

import numpy as np
import onnx
from make_models import Graph, grid_points

RED, GREEN, BLUE = (lambda g, x, k=k: g.op("Slice", x, g.constant([k], np.int64), g.constant([k + 1], np.int64),
                                           g.constant([1], np.int64)) for k in range(3))


def red_finder(side: int = 256) -> onnx.ModelProto:
    """As YOLO-pose (1, 56, N): each 8 pixel cell scores as much as the 24 pixels around it are red and neither green nor blue,
    if no cell near it is redder; its box has 24 pixels, and joint k lies k pixels to the right of the cell's centre."""
    g = Graph(1)
    g.channels["images"] = 3
    pure = g.op("Sub", RED(g, "images"), g.op("Add", GREEN(g, "images"), BLUE(g, "images")))
    cells = g.op("AveragePool", pure, kernel_shape=[24, 24], strides=[8, 8], pads=[8] * 4)
    points, _ = grid_points((side, side), (8,), 0.5)
    count = points.shape[1]
    # Of cells that are as red as each other the later one wins.
    cells = g.op("Add", cells, g.constant(np.linspace(0, 1e-3, count).reshape(1, 1, side // 8, side // 8)))
    best = g.op("Cast", g.op("Equal", cells, g.pool(cells, 7)), to=1)
    score = g.op("Clip", g.op("Mul", best, g.op("Mul", cells, g.constant(1.5))), g.constant(0.0), g.constant(1.0))
    score = g.reshape(score, 1, 1, count)
    box = np.concatenate([points * 8, np.full((2, count), 24.0)])[None]
    joints = np.concatenate([[points[0] * 8 + k, points[1] * 8, np.full(count, 0.75)] for k in range(17)])[None]
    output = g.op("Concat", g.constant(box), score, g.constant(joints), axis=1)
    metadata = {"task": "pose", "weights": "stand-in"}
    return g.model({"images": [1, 3, side, side]}, {"output0": (output, [1, 56, count])}, metadata)


def red_pose(joints: int = 17, size: tuple[int, int] = (192, 256)) -> onnx.ModelProto:
    """As RTMPose: every joint where the picture is reddest, by rows and by columns, averaged over 15 pixels."""
    g = Graph(1)
    g.channels["input"] = 3
    pure = g.op("Sub", RED(g, "input"), g.op("Add", GREEN(g, "input"), BLUE(g, "input")))
    smooth = g.op("AveragePool", pure, kernel_shape=[15, 15], strides=[1, 1], pads=[7] * 4)
    outputs = {}
    for name, axis, side in (("simcc_x", 2, size[0]), ("simcc_y", 3, size[1])):
        line = g.op("ReduceMax", smooth, axes=[axis], keepdims=0)
        twice = g.op("Expand", g.op("Unsqueeze", line, g.constant([3], np.int64)), g.constant([1, 1, side, 2], np.int64))
        fine = g.op("Mul", g.reshape(twice, 0, 1, 2 * side), g.constant(0.1))
        # The first of two equal halves wins, so index 2 p stands for pixel p.
        outputs[name] = (g.op("Expand", fine, g.constant([1, joints, 2 * side], np.int64)), ["batch", joints, 2 * side])
    return g.model({"input": ["batch", 3, size[1], size[0]]}, outputs, {"weights": "stand-in"})


def constant_outputs(shapes: dict[str, tuple[int, ...]], side: int = 64) -> onnx.ModelProto:
    """A model whose outputs are zeros of the given shapes, whatever it sees."""
    g = Graph(1)
    nothing = g.op("Mul", g.op("ReduceMean", "images", keepdims=0), g.constant(0.0))
    made = {name: (g.op("Expand", nothing, g.constant(shape, np.int64)), list(shape)) for name, shape in shapes.items()}
    return g.model({"images": [1, 3, side, side]}, made)
