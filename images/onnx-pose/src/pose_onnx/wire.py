"""Looks into an ONNX file for references to other files, before any library opens it.

A model may keep its weights in files beside it, named by the model (external data). A model file is outside input: it must
not make the engine read paths of its choosing. The file is protocol buffers; only the fields that can hold a tensor are
walked, with bounds, by the numbers in the ONNX project's onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64  # graphs within graphs; real models have two or three
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

# Message -> {field: message it holds}. A field that is not named holds no tensor.
_HOLDS = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTIONS: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


class NotONNXError(ValueError):
    """The bytes are no ONNX model."""


def has_external_data(content: bytes) -> bool:
    """Whether any tensor of the model lies in another file. Raises NotONNXError where the bytes are no model."""
    view = memoryview(content)
    if not any(field == _MODEL_GRAPH and kind == _BYTES for field, kind, _ in _fields(view)):
        raise NotONNXError("no graph in it")
    return _external(view, "model", 0)


def _external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise NotONNXError(f"graphs are nested deeper than {_DEEPEST}")
    if kind == "tensor":
        return any((field == _TENSOR_LOCATION and value != 0) or field == _TENSOR_EXTERNAL
                   for field, _, value in _fields(message))
    holds = _HOLDS[kind]
    return any(_external(value, holds[field], depth + 1)
               for field, wire, value in _fields(message) if wire == _BYTES and field in holds)


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and value of each field of a message."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire == _BYTES:
            size, at = _varint(message, at)
            value, at = message[at:at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            value, at = message[at:at + size], at + size
        else:
            raise NotONNXError(f"wire type {wire} is unknown")
        if field == 0 or at > end:
            raise NotONNXError("a field is broken off")
        yield field, wire, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise NotONNXError("a number is broken off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
