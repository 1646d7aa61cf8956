"""ONNX graphs of the real architectures, with random weights of our own making.

Layer by layer as the projects' papers and configuration files describe them, batch normalisation folded into the
convolutions as exporters do: YOLOv8n-pose (C2f, SPPF, PAN, DFL head), RTMPose-s (CSPNeXt, SimCC head with a gated attention
unit), RTMDet-nano for people (CSPNeXt, CSPNeXt-PAFPN, separated heads, suppression in the graph as MMDeploy adds it) and
YOLOX-nano (CSPDarknet, PAFPN, decoupled heads).
What such models find in a picture means nothing: they prove that loading, shapes and decoding are right, not that poses are.

    python make_models.py FOLDER     writes yolov8n-pose.onnx, rtmpose-s.onnx, rtmdet-nano.onnx, yolox-nano.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """Collects nodes and weights. weights: numbers in it; unfused: as many as a model has before batch normalisation is
    folded, which is how sizes of models are published."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self.channels: dict[str, int] = {}
        self.weights = self.unfused = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, channels: int | None = None, **attributes):
        """One node; the name of its output, or a list of them."""
        names = [f"t{len(self._nodes)}_{k}" for k in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        for name in names:
            self.channels[name] = channels if channels is not None else self.channels.get(inputs[0], 0) if inputs else 0
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype=np.float32) -> str:
        name = f"c{len(self._tensors)}"
        self._tensors.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int, scale: float) -> str:
        self.weights += int(np.prod(shape))
        self.unfused += int(np.prod(shape))
        values = self._random.normal(0, scale, shape)
        if len(shape) == 4 and values[0].size > 1:
            # Of sum zero, as training makes most of them nearly: else means add up and every place of a picture scores alike.
            values -= values.mean(axis=(1, 2, 3), keepdims=True)
        return self.constant(values)

    def conv(self, x: str, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: str = "SiLU", norm: bool = True,
             bias: float = 0.0, gain: float = 1.7) -> str:
        """Convolution with its normalisation folded into the bias, then the activation. Without norm: a plain one."""
        inside = self.channels[x] // groups
        kernel_name = self.weight(out, inside, kernel, kernel, scale=gain / np.sqrt(inside * kernel * kernel))
        self.weights += out
        self.unfused += 2 * out if norm else out
        y = self.op("Conv", x, kernel_name, self.constant(np.full(out, bias)), channels=out, kernel_shape=[kernel, kernel],
                    strides=[stride, stride], pads=[kernel // 2] * 4, group=groups)
        return self.silu(y) if act == "SiLU" else y

    def separable(self, x: str, out: int, kernel: int, stride: int = 1) -> str:
        return self.conv(self.conv(x, self.channels[x], kernel, stride, groups=self.channels[x]), out)

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def linear(self, x: str, inside: int, out: int) -> str:
        return self.op("MatMul", x, self.weight(inside, out, scale=1.7 / np.sqrt(inside)), channels=out)

    def concat(self, *parts: str) -> str:
        return self.op("Concat", *parts, axis=1, channels=sum(self.channels[p] for p in parts))

    def pool(self, x: str, kernel: int) -> str:
        return self.op("MaxPool", x, kernel_shape=[kernel, kernel], strides=[1, 1], pads=[kernel // 2] * 4)

    def double(self, x: str) -> str:
        return self.op("Resize", x, "", self.constant([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
                       coordinate_transformation_mode="asymmetric")

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        parts = self.op("Split", x, self.constant(sizes, np.int64), outputs=len(sizes), axis=axis)
        for part, size in zip(parts, sizes, strict=True):
            self.channels[part] = size
        return parts

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def model(self, inputs: dict[str, list], outputs: dict[str, tuple[str, list]], metadata: dict[str, str] | None = None,
              types: dict[str, int] | None = None) -> onnx.ModelProto:
        """inputs: name -> shape. outputs: name -> (tensor, shape)."""
        for name, (tensor, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
        made = [helper.make_tensor_value_info(n, (types or {}).get(n, TensorProto.FLOAT), s) for n, (_, s) in outputs.items()]
        graph = helper.make_graph(self._nodes, "random-weights", given, made, self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        helper.set_model_props(model, {"weights": "random", **(metadata or {})})
        onnx.checker.check_model(model)
        return model


def grid_points(side: tuple[int, int], strides: tuple[int, ...], offset: float) -> tuple[np.ndarray, np.ndarray]:
    """(2, N) cells' x and y in strides, and (1, N) strides in pixels; side is (width, height)."""
    points, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[:side[1] // stride, :side[0] // stride]
        points.append(np.stack([columns.ravel(), rows.ravel()]) + offset)
        sizes.append(np.full((1, columns.size), stride))
    return np.concatenate(points, axis=1), np.concatenate(sizes, axis=1)


# --- YOLOv8n-pose -----------------------------------------------------------------------------------------------------


def c2f(g: Graph, x: str, out: int, repeats: int, shortcut: bool) -> str:
    """Cross-stage block: two halves, the second through bottlenecks, all of whose outputs are kept."""
    half = out // 2
    parts = g.split(g.conv(x, out), [half, half], axis=1)
    for _ in range(repeats):
        y = g.conv(g.conv(parts[-1], half, 3), half, 3)
        parts.append(g.op("Add", parts[-1], y) if shortcut else y)
    return g.conv(g.concat(*parts), out)


def sppf(g: Graph, x: str, out: int) -> str:
    """Spatial pyramid pooling, fast: three poolings one after the other."""
    parts = [g.conv(x, g.channels[x] // 2)]
    for _ in range(3):
        parts.append(g.pool(parts[-1], 5))
    return g.conv(g.concat(*parts), out)


def yolo_features(g: Graph, x: str) -> list[str]:
    """Backbone and path aggregation of size n: features of strides 8, 16 and 32 with 64, 128 and 256 channels."""
    x = c2f(g, g.conv(g.conv(x, 16, 3, 2), 32, 3, 2), 32, 1, True)
    p3 = c2f(g, g.conv(x, 64, 3, 2), 64, 2, True)
    p4 = c2f(g, g.conv(p3, 128, 3, 2), 128, 2, True)
    p5 = sppf(g, c2f(g, g.conv(p4, 256, 3, 2), 256, 1, True), 256)
    up4 = c2f(g, g.concat(g.double(p5), p4), 128, 1, False)
    out3 = c2f(g, g.concat(g.double(up4), p3), 64, 1, False)
    out4 = c2f(g, g.concat(g.conv(out3, 64, 3, 2), up4), 128, 1, False)
    return [out3, out4, c2f(g, g.concat(g.conv(out4, 128, 3, 2), p5), 256, 1, False)]


def yolov8n_pose(side: int = 256, seed: int = 7, final: bool = False, joints: int = 17,
                 bias: float = -5.0) -> tuple[onnx.ModelProto, Graph]:
    """final: with suppression in the graph, (1, 300, 57). bias: of the scores; the lower, the fewer people."""
    g = Graph(seed)
    g.channels["images"] = 3
    boxes, scores, points = [], [], []
    for x in yolo_features(g, "images"):
        boxes.append(g.reshape(g.conv(g.conv(g.conv(x, 64, 3), 64, 3), 64, act="", norm=False), 1, 64, -1))
        scores.append(g.reshape(g.conv(g.conv(g.conv(x, 64, 3), 64, 3), 1, act="", norm=False, bias=bias, gain=9.0), 1, 1, -1))
        middle = max(64 // 4, 3 * joints)
        joint = g.conv(g.conv(g.conv(x, middle, 3), middle, 3), 3 * joints, act="", norm=False)
        points.append(g.reshape(joint, 1, 3 * joints, -1))
    anchors, strides = grid_points((side, side), (8, 16, 32), 0.5)
    count = anchors.shape[1]
    stride = g.constant(strides[None])
    near, far = _distances(g, g.op("Concat", *boxes, axis=2), anchors, count)
    score = g.op("Sigmoid", g.op("Concat", *scores, axis=2))
    placed = _yolo_points(g, g.op("Concat", *points, axis=2), anchors, stride, joints, count)
    if final:
        corners = g.op("Mul", g.op("Concat", near, far, axis=1), stride)
        output, shape = _suppressed(g, corners, score, placed, 300), [1, 300, 6 + 3 * joints]
    else:
        centre = g.op("Mul", g.op("Add", near, far), g.constant(0.5))
        box = g.op("Mul", g.op("Concat", centre, g.op("Sub", far, near), axis=1), stride)
        output, shape = g.op("Concat", box, score, placed, axis=1), [1, 5 + 3 * joints, count]
    metadata = {"task": "pose", "imgsz": f"[{side}, {side}]", "kpt_shape": f"[{joints}, 3]", "stride": "32"}
    return g.model({"images": [1, 3, side, side]}, {"output0": (output, shape)}, metadata), g


def _distances(g: Graph, bins: str, anchors: np.ndarray, count: int) -> tuple[str, str]:
    """Distribution focal loss: the mean of 16 bins for each of four distances, then the box's corners in strides."""
    chances = g.op("Softmax", g.op("Transpose", g.reshape(bins, 1, 4, 16, count), perm=[0, 2, 1, 3]), axis=1)
    g.weights += 16
    g.unfused += 16
    mean = g.op("Conv", chances, g.constant(np.arange(16).reshape(1, 16, 1, 1)), kernel_shape=[1, 1])
    before, after = g.split(g.reshape(mean, 1, 4, count), [2, 2], axis=1)
    return g.op("Sub", g.constant(anchors[None]), before), g.op("Add", g.constant(anchors[None]), after)


def _yolo_points(g: Graph, raw: str, anchors: np.ndarray, stride: str, joints: int, count: int) -> str:
    place, seen = g.split(g.reshape(raw, 1, joints, 3, count), [2, 1], axis=2)
    cells = g.constant((anchors - 0.5)[None, None])
    place = g.op("Mul", g.op("Add", g.op("Mul", place, g.constant(2.0)), cells), stride)
    return g.reshape(g.op("Concat", place, g.op("Sigmoid", seen), axis=2), 1, 3 * joints, count)


def _suppressed(g: Graph, corners: str, score: str, extra: str | None, most: int) -> str:
    """(1, most, 5 or 6 + extra): the best boxes after suppression, then rows of zeros."""
    boxes = g.op("Transpose", corners, perm=[0, 2, 1])
    kept = g.op("NonMaxSuppression", boxes, score, g.constant([most], np.int64), g.constant([0.65]), g.constant([0.05]))
    rows = g.op("Squeeze", g.op("Slice", kept, g.constant([2], np.int64), g.constant([3], np.int64), g.constant([1], np.int64)),
                g.constant([1], np.int64))
    parts = [boxes, g.op("Transpose", score, perm=[0, 2, 1])]
    if extra is not None:
        values = g.op("Transpose", extra, perm=[0, 2, 1])
        parts += [g.op("Mul", parts[1], g.constant(0.0)), values]
    table = g.op("Gather", g.op("Concat", *parts, axis=2), rows, axis=1)
    if extra is None:
        return table
    padded = g.op("Pad", table, g.constant([0, 0, 0, 0, most, 0], np.int64))
    return g.op("Slice", padded, g.constant([0], np.int64), g.constant([most], np.int64), g.constant([1], np.int64))


# --- CSPNeXt: RTMPose-s and RTMDet-nano -------------------------------------------------------------------------------


def cspnext_block(g: Graph, x: str, shortcut: bool, light: bool) -> str:
    """light: the first convolution is separable too, as in nano models."""
    y = g.separable(x, g.channels[x], 3) if light else g.conv(x, g.channels[x], 3)
    y = g.separable(y, g.channels[x], 5)
    return g.op("Add", x, y) if shortcut else y


def csp_layer(g: Graph, x: str, out: int, repeats: int, shortcut: bool, light: bool, attention: bool) -> str:
    main, short = g.conv(x, out // 2), g.conv(x, out // 2)
    for _ in range(repeats):
        main = cspnext_block(g, main, shortcut, light)
    both = g.concat(main, short)
    if attention:
        share = g.conv(g.op("GlobalAveragePool", both), out, act="", norm=False)
        both = g.op("Mul", both, g.op("HardSigmoid", share, alpha=1 / 6, beta=0.5))
    return g.conv(both, out)


def cspnext(g: Graph, x: str, width: float, light: bool) -> list[str]:
    """Backbone with a depth of 0.33: features of strides 8, 16 and 32."""
    stem = int(64 * width)
    x = g.conv(g.conv(g.conv(x, stem // 2, 3, 2), stem // 2, 3), stem, 3)
    features = []
    for k, (channels, repeats) in enumerate(((128, 1), (256, 2), (512, 2), (1024, 1))):
        out = int(channels * width)
        x = g.separable(x, out, 3, 2) if light else g.conv(x, out, 3, 2)
        if k == 3:
            inner = g.conv(x, out // 2)
            x = g.conv(g.concat(inner, *(g.pool(inner, kernel) for kernel in (5, 9, 13))), out)
        x = csp_layer(g, x, out, repeats, k < 3, light, attention=True)
        features.append(x)
    return features[1:]


def scale_norm(g: Graph, x: str, width: int) -> str:
    length = g.op("ReduceL2", x, axes=[2], keepdims=1)
    least = g.op("Max", g.op("Mul", length, g.constant(width**-0.5)), g.constant(1e-5))
    g.weights += 1
    g.unfused += 1
    return g.op("Mul", g.op("Div", x, least), g.constant([1.0]))


def gated_attention(g: Graph, x: str, width: int = 256, inner: int = 512, keys: int = 128) -> str:
    """Gated attention unit (Hua et al. 2022) with squared ReLU, over the joints."""
    y = g.silu(g.linear(scale_norm(g, x, width), width, 2 * inner + keys))
    u, v, base = g.split(y, [inner, inner, keys], axis=2)
    q, k = (g.op("Add", g.op("Mul", base, g.weight(keys, scale=1.0)), g.weight(keys, scale=0.1)) for _ in range(2))
    kernel = g.op("Relu", g.op("Div", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1])), g.constant(keys**0.5)))
    mixed = g.op("Mul", u, g.op("MatMul", g.op("Mul", kernel, kernel), v))
    return g.op("Add", g.op("Mul", x, g.weight(width, scale=1.0)), g.linear(mixed, inner, width))


def rtmpose_s(joints: int = 17, size: tuple[int, int] = (192, 256), batch: int | str = "batch",
              seed: int = 8) -> tuple[onnx.ModelProto, Graph]:
    g = Graph(seed)
    g.channels["input"] = 3
    x = g.conv(cspnext(g, "input", 0.5, light=False)[-1], joints, 7, act="", norm=False)
    cells = (size[0] // 32) * (size[1] // 32)
    x = g.reshape(x, 0, joints, cells)
    x = g.linear(scale_norm(g, x, cells), cells, 256)
    x = gated_attention(g, x)
    # Weights of a trained model peak near 1; these are kept near it too.
    outputs = {name: (g.op("Mul", g.linear(x, 256, 2 * side), g.constant(5e-4)), [batch, joints, 2 * side])
               for name, side in zip(("simcc_x", "simcc_y"), size, strict=True)}
    return g.model({"input": [batch, 3, size[1], size[0]]}, outputs), g


def rtmdet_nano(side: int = 320, seed: int = 9, bias: float = -2.0) -> tuple[onnx.ModelProto, Graph]:
    g = Graph(seed)
    g.channels["input"] = 3
    p3, p4, p5 = cspnext(g, "input", 0.25, light=True)
    low5 = g.conv(p5, 128)
    up4 = csp_layer(g, g.concat(g.double(low5), p4), 128, 1, False, True, False)
    low4 = g.conv(up4, 64)
    out3 = csp_layer(g, g.concat(g.double(low4), p3), 64, 1, False, True, False)
    out4 = csp_layer(g, g.concat(g.separable(out3, 64, 3, 2), low4), 128, 1, False, True, False)
    out5 = csp_layer(g, g.concat(g.separable(out4, 128, 3, 2), low5), 256, 1, False, True, False)
    scores, distances = [], []
    for x, stride in ((out3, 8), (out4, 16), (out5, 32)):
        x = g.separable(x, 64, 3)
        for kind, out in ((scores, 1), (distances, 4)):
            y = g.separable(g.separable(x, 64, 3), 64, 3)
            y = g.conv(y, out, act="", norm=False, bias=bias if out == 1 else 3.0, gain=100.0 if out == 1 else 10.0)
            if out == 4:
                y = g.op("Mul", g.op("Relu", y), g.constant(float(stride)))
            kind.append(g.reshape(y, 1, out, -1))
    points, strides = grid_points((side, side), (8, 16, 32), 0.0)
    centres = g.constant((points * strides)[None])
    before, after = g.split(g.op("Concat", *distances, axis=2), [2, 2], axis=1)
    corners = g.op("Concat", g.op("Sub", centres, before), g.op("Add", centres, after), axis=1)
    dets = _suppressed(g, corners, g.op("Sigmoid", g.op("Concat", *scores, axis=2)), None, 100)
    first = g.op("Slice", dets, g.constant([0], np.int64), g.constant([1], np.int64), g.constant([2], np.int64))
    labels = g.op("Cast", g.op("Mul", g.op("Squeeze", first, g.constant([2], np.int64)), g.constant(0.0)), to=TensorProto.INT64)
    outputs = {"dets": (dets, [1, "num_dets", 5]), "labels": (labels, [1, "num_dets"])}
    return g.model({"input": [1, 3, side, side]}, outputs, types={"labels": TensorProto.INT64}), g


# --- YOLOX-nano -------------------------------------------------------------------------------------------------------


def dark_layer(g: Graph, x: str, out: int, repeats: int, shortcut: bool) -> str:
    """Cross-stage block of light bottlenecks."""
    main, short = g.conv(x, out // 2), g.conv(x, out // 2)
    for _ in range(repeats):
        y = g.separable(g.conv(main, out // 2), out // 2, 3)
        main = g.op("Add", main, y) if shortcut else y
    return g.conv(g.concat(main, short), out)


def every_other(g: Graph, x: str, row: int, column: int) -> str:
    """Every other pixel of a picture, from a row and a column on."""
    return g.op("Slice", x, g.constant([row, column], np.int64), g.constant([2**31, 2**31], np.int64),
                g.constant([2, 3], np.int64), g.constant([2, 2], np.int64))


def yolox_features(g: Graph, x: str) -> list[str]:
    x = g.conv(g.concat(*(every_other(g, x, row, column) for column in (0, 1) for row in (0, 1))), 16, 3)
    x = dark_layer(g, g.separable(x, 32, 3, 2), 32, 1, True)
    p3 = dark_layer(g, g.separable(x, 64, 3, 2), 64, 3, True)
    p4 = dark_layer(g, g.separable(p3, 128, 3, 2), 128, 3, True)
    inner = g.conv(g.separable(p4, 256, 3, 2), 128)
    p5 = g.conv(g.concat(inner, *(g.pool(inner, kernel) for kernel in (5, 9, 13))), 256)
    low5 = g.conv(dark_layer(g, p5, 256, 1, False), 128)
    low4 = g.conv(dark_layer(g, g.concat(g.double(low5), p4), 128, 1, False), 64)
    out3 = dark_layer(g, g.concat(g.double(low4), p3), 64, 1, False)
    out4 = dark_layer(g, g.concat(g.separable(out3, 64, 3, 2), low4), 128, 1, False)
    return [out3, out4, dark_layer(g, g.concat(g.separable(out4, 128, 3, 2), low5), 256, 1, False)]


def yolox_nano(side: int = 416, seed: int = 10, classes: int = 80, bias: float = -1.0) -> tuple[onnx.ModelProto, Graph]:
    """As YOLOX's own exporter writes it: (1, N, 5 + classes), not decoded."""
    g = Graph(seed)
    g.channels["images"] = 3
    scaled = g.op("Mul", "images", g.constant(1 / 128), channels=3)  # trained weights cope with bytes, random ones do not
    rows = []
    for x in yolox_features(g, scaled):
        x = g.conv(x, 64)
        kind, place = x, x
        for _ in range(2):
            kind, place = g.separable(kind, 64, 3), g.separable(place, 64, 3)
        box = g.conv(place, 4, act="", norm=False)
        sure = g.op("Sigmoid", g.conv(place, 1, act="", norm=False, bias=bias, gain=20.0))
        named = g.op("Sigmoid", g.conv(kind, classes, act="", norm=False, gain=20.0))
        rows.append(g.reshape(g.concat(box, sure, named), 1, 5 + classes, -1))
    output = g.op("Transpose", g.op("Concat", *rows, axis=2), perm=[0, 2, 1])
    count = sum((side // stride) ** 2 for stride in (8, 16, 32))
    return g.model({"images": [1, 3, side, side]}, {"output": (output, [1, count, 5 + classes])}), g


def main() -> None:
    folder = Path(sys.argv[1])
    made = {"yolov8n-pose": yolov8n_pose(640), "rtmpose-s": rtmpose_s(), "rtmdet-nano": rtmdet_nano(), "yolox-nano": yolox_nano()}
    for name, (model, graph) in made.items():
        onnx.save(model, folder / f"{name}.onnx")
        print(f"{name}.onnx: {graph.weights} weights, {graph.unfused} before folding; random, so its poses mean nothing")


if __name__ == "__main__":
    main()
