"""Says what is in a pickle without opening it: opening a pickle runs what it says.

The opcodes are followed on a stack of inert stand-ins. Nothing is imported and nothing is called; large payloads are
skipped by seeking, so that a file of gigabytes is read in its structure alone. That also finds a file that was cut off,
for only the last opcode ends a pickle. The opcodes and their arguments are those of the standard library's pickletools.
"""

from __future__ import annotations

import os
import pickletools
import struct
from dataclasses import dataclass, field
from typing import BinaryIO, Dict, List, Optional, Tuple

MOST_OPCODES = 3_000_000
SHORT = 4096  # bytes of a string that is kept; longer ones are payload


class Broken(Exception):
    """The file is no whole pickle. The text says why."""


class _Mark:
    pass


@dataclass(frozen=True)
class Name:
    """A global: what opening the pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Payload:
    """Raw bytes or text that was skipped."""

    length: int


@dataclass(eq=False)
class Made:
    """What opening the pickle would make by a call: its function, the arguments and the state set afterwards."""

    function: object
    arguments: object
    state: object = None


@dataclass
class Scan:
    """What a pickle holds. names are in order of first use."""

    top: object = None
    names: List[Name] = field(default_factory=list)


_MARK = _Mark()
_SIZED = {  # opcode -> (format of its length, whether it is text)
    "SHORT_BINSTRING": ("<B", True), "BINSTRING": ("<i", True), "SHORT_BINBYTES": ("<B", False),
    "BINBYTES": ("<I", False), "BINBYTES8": ("<Q", False), "BYTEARRAY8": ("<Q", False),
    "SHORT_BINUNICODE": ("<B", True), "BINUNICODE": ("<I", True), "BINUNICODE8": ("<Q", True),
    "LONG1": ("<B", False), "LONG4": ("<i", False),
}
_FIXED = {  # opcode -> format of its argument
    "BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d", "BINGET": "<B", "LONG_BINGET": "<I",
    "BINPUT": "<B", "LONG_BINPUT": "<I", "PROTO": "<B", "FRAME": "<Q", "EXT1": "<B", "EXT2": "<H", "EXT4": "<i",
}
_LINES = {"GLOBAL": 2, "INST": 2, "INT": 1, "LONG": 1, "FLOAT": 1, "STRING": 1, "UNICODE": 1, "PERSID": 1, "GET": 1, "PUT": 1}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def scan(source: BinaryIO) -> Scan:
    """Follows one pickle from where source stands up to its end. Raises Broken."""
    return _Machine(source).run()


class _Machine:
    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        here = source.tell()
        self._end = source.seek(0, os.SEEK_END)
        source.seek(here)
        self._stack: List[object] = []
        self._memo: Dict[int, object] = {}
        self._result = Scan()
        self._seen = set()

    def run(self) -> Scan:
        for _ in range(MOST_OPCODES):
            code = self._source.read(1)
            if not code:
                raise Broken("it breaks off: the end of the pickle is missing")
            known = pickletools.code2op.get(code.decode("latin-1"))
            if known is None:
                raise Broken(f"byte {self._source.tell() - 1} is no opcode of a pickle")
            if known.name == "STOP":
                self._result.top = self._pop()
                return self._result
            try:
                self._step(known.name)
            except (IndexError, KeyError, ValueError, struct.error, TypeError) as error:
                raise Broken(f"opcode {known.name} before byte {self._source.tell()} makes no sense") from error
        raise Broken(f"it has more than {MOST_OPCODES} opcodes")

    def _step(self, op: str) -> None:
        if op in _SIZED:
            self._push(self._sized(op))
        elif op in _FIXED:
            self._fixed(op, struct.unpack(_FIXED[op], self._read(struct.calcsize(_FIXED[op])))[0])
        elif op in _LINES:
            self._lines(op, [self._line() for _ in range(_LINES[op])])
        elif op in _CONSTANTS:
            self._push(_CONSTANTS[op])
        elif op.startswith("EMPTY_"):
            self._push({"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list}[op]())
        elif op == "MARK":
            self._push(_MARK)
        elif not (self._shuffle(op) or self._container(op) or self._call(op)):
            raise Broken(f"opcode {op} is not known here")

    def _shuffle(self, op: str) -> bool:
        """Opcodes that only move what is there."""
        if op == "POP":
            self._pop()
        elif op == "POP_MARK":
            self._to_mark()
        elif op == "DUP":
            self._push(self._stack[-1])
        elif op == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif op == "NEXT_BUFFER":
            self._push(Payload(0))
        elif op not in ("READONLY_BUFFER",):
            return False
        return True

    def _container(self, op: str) -> bool:
        if op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(op[-1])
            items = [self._pop() for _ in range(count)]
            self._push(tuple(reversed(items)))
        elif op in ("TUPLE", "LIST", "FROZENSET"):
            items = self._to_mark()
            self._push(tuple(items) if op == "TUPLE" else items)
        elif op == "DICT":
            self._push(_pairs({}, self._to_mark()))
        elif op in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [self._pop()] if op == "APPEND" else self._to_mark()
            if isinstance(self._stack[-1], list):
                self._stack[-1].extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = list(reversed([self._pop(), self._pop()])) if op == "SETITEM" else self._to_mark()
            if isinstance(self._stack[-1], dict):
                _pairs(self._stack[-1], items)
        else:
            return False
        return True

    def _call(self, op: str) -> bool:
        if op == "STACK_GLOBAL":
            name, module = self._pop(), self._pop()
            self._push(self._name(str(module), str(name)))
        elif op in ("REDUCE", "NEWOBJ"):
            arguments, function = self._pop(), self._pop()
            self._push(Made(function, arguments))
        elif op == "NEWOBJ_EX":
            _, arguments, function = self._pop(), self._pop(), self._pop()
            self._push(Made(function, arguments))
        elif op == "OBJ":
            items = self._to_mark()
            self._push(Made(items[0], tuple(items[1:])))
        elif op == "BUILD":
            state = self._pop()
            if isinstance(self._stack[-1], Made):
                self._stack[-1].state = state
        elif op == "BINPERSID":
            self._push(Made("persistent", self._pop()))
        else:
            return False
        return True

    def _fixed(self, op: str, value: object) -> None:
        if op in ("BINGET", "LONG_BINGET"):
            self._push(self._memo[value])
        elif op in ("BINPUT", "LONG_BINPUT"):
            self._memo[value] = self._stack[-1]
        elif op in ("EXT1", "EXT2", "EXT4"):
            self._push(self._name("copyreg", f"extension {value}"))
        elif op not in ("PROTO", "FRAME"):
            self._push(value)

    def _lines(self, op: str, lines: List[str]) -> None:
        if op == "GLOBAL":
            self._push(self._name(lines[0], lines[1]))
        elif op == "INST":
            self._push(Made(self._name(lines[0], lines[1]), tuple(self._to_mark())))
        elif op == "GET":
            self._push(self._memo[int(lines[0])])
        elif op == "PUT":
            self._memo[int(lines[0])] = self._stack[-1]
        elif op in ("INT", "LONG"):
            self._push(int(lines[0].rstrip("L")))
        elif op == "FLOAT":
            self._push(float(lines[0]))
        elif op == "STRING":
            self._push(lines[0].strip("'\""))
        else:
            self._push(lines[0])

    def _sized(self, op: str) -> object:
        layout, text = _SIZED[op]
        length = struct.unpack(layout, self._read(struct.calcsize(layout)))[0]
        if length < 0 or length > self._end - self._source.tell():
            raise Broken("it breaks off: a part is longer than what is left of the file")
        if length > SHORT:
            self._source.seek(length, os.SEEK_CUR)
            return Payload(length)
        data = self._read(length)
        if op in ("LONG1", "LONG4"):
            return int.from_bytes(data, "little", signed=True)
        return data.decode("utf-8", "replace") if text else data

    def _line(self) -> str:
        """One line of the oldest protocol. Of a long one only the first bytes are kept."""
        first = self._source.readline(SHORT)
        part = first
        while part and not part.endswith(b"\n"):
            part = self._source.readline(1 << 20)
        if not part.endswith(b"\n"):
            raise Broken("it breaks off within a line")
        return first.rstrip(b"\n").decode("utf-8", "replace")

    def _read(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) < count:
            raise Broken("it breaks off: the end of the pickle is missing")
        return data

    def _name(self, module: str, name: str) -> Name:
        found = Name(module, name)
        if found not in self._seen:
            self._seen.add(found)
            self._result.names.append(found)
        return found

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            raise Broken("it takes more off its stack than is on it")
        return self._stack.pop()

    def _to_mark(self) -> List[object]:
        items: List[object] = []
        while True:
            value = self._pop()
            if value is _MARK:
                return list(reversed(items))
            items.append(value)


def _pairs(into: dict, items: List[object]) -> dict:
    for key, value in zip(items[::2], items[1::2]):
        if isinstance(key, bytes):
            key = key.decode("utf-8", "replace")
        if isinstance(key, (str, int)):  # others cannot be asked for
            into[key] = value
    return into


def shape(value: object) -> Optional[Tuple[int, ...]]:
    """The shape of what would be a numpy array, a scipy sparse matrix or a chumpy array; None if it cannot be told."""
    if not isinstance(value, Made):
        return None
    function = str(value.function)
    found: object = None
    if function.endswith("multiarray._reconstruct") and isinstance(value.state, tuple) and len(value.state) > 1:
        found = value.state[1]
    elif function.endswith("numeric._frombuffer") and isinstance(value.arguments, tuple) and len(value.arguments) > 2:
        found = value.arguments[2]
    elif isinstance(value.state, dict) and "_shape" in value.state:
        found = value.state["_shape"]
    elif isinstance(value.state, dict) and isinstance(value.state.get("x"), Made):
        inner = value.state["x"]
        return None if inner is value or str(inner.function) == function else shape(inner)
    if isinstance(found, tuple) and all(isinstance(n, int) for n in found):
        return found
    return None
