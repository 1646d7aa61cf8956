"""Reads the tensors of a checkpoint lazily, and without running anything that a pickle may hold.

Two forms: detectron2's model zoo (a pickle of numpy arrays) and torch's (a zip with a pickle that points at raw storages).
Both are only mapped into memory. A tensor's bytes are touched when the tensor is asked for, so that a model of several
gigabytes costs the host one tensor at a time. Of a pickle's classes only those that describe arrays mean anything here;
every other becomes an inert object that does nothing, whatever the file asks it to do.
"""

from __future__ import annotations

import math
import mmap
import pickle
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from pose_phalp.errors import EngineError, Failure

LAZY_BYTES = 4096  # shorter values are simply read
MOST_PICKLE_BYTES = 256 * 1024 * 1024  # of the index within torch's zip
MOST_TENSOR_BYTES = 4 * 1024 * 1024 * 1024
_STORAGE_DTYPES = {"FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "bf16",
                   "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
                   "BoolStorage": "b1"}
_ITEM_BYTES = {"f4": 4, "f8": 8, "f2": 2, "bf16": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u1": 1, "b1": 1, "u2": 2, "u4": 4,
               "u8": 8}


def unreadable(path: Path, why: str) -> EngineError:
    return EngineError(Failure.MODEL_UNREADABLE,
                       f"{path.name} is no checkpoint that can be read: {why}; copy it again from its source to {path}")


@dataclass(frozen=True)
class Blob:
    """Bytes somewhere in the file. latin1: they are the UTF-8 of a text that stands for bytes (pickle protocol 2)."""

    offset: int
    length: int
    latin1: bool = False


class Mapped:
    """A file mapped privately: writing to a tensor that lies in it never reaches the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise unreadable(path, str(error)) from None

    def release(self, offset: int, length: int) -> None:
        """Tells the kernel that these pages are not needed any more; whole pages within the range only."""
        page = mmap.PAGESIZE
        start = -(-offset // page) * page
        stop = (offset + length) // page * page
        if stop > start and hasattr(self.map, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED, start, stop - start)


@dataclass(frozen=True)
class LazyTensor:
    """One tensor of a checkpoint. dtype: a numpy letter and size, or bf16 (read as the u2 of its bits).

    steps: items from one entry to the next on each axis, empty for rows one after the other.
    """

    file: Mapped
    blob: Blob
    shape: Tuple[int, ...]
    dtype: str
    steps: Tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]

    def array(self, own: bool) -> Any:
        """The values as a numpy array: a copy if own, else a view of the mapped file where its alignment allows.

        After a copy the file's pages are given back to the kernel.
        """
        import numpy as np
        dtype = np.dtype("u2" if self.dtype == "bf16" else self.dtype)
        offset, length = self.blob.offset, self.blob.length
        if self.blob.latin1:
            data = bytearray(self.file.map[offset:offset + length].decode("utf-8").encode("latin-1"))
            if len(data) != self.nbytes:
                raise unreadable(self.file.path, f"a tensor of shape {list(self.shape)} has {len(data)} bytes")
            self.release()
            view = np.frombuffer(data, dtype)
        else:
            view = np.frombuffer(self.file.map, dtype, self.nbytes // dtype.itemsize, offset)
            if self.steps:
                steps = tuple(step * dtype.itemsize for step in self.steps)
                return np.ascontiguousarray(np.lib.stride_tricks.as_strided(view, self.shape, steps))
            if own or offset % 16:
                view = view.copy()
                self.release()
        return view.reshape(self.shape)

    def release(self) -> None:
        self.file.release(self.blob.offset, self.blob.length)


def read_checkpoint(path: Path, member: str) -> Dict[str, Any]:
    """The tensors of one member of a checkpoint (`model`, `state_dict`) by name: LazyTensor, or torch's own for old files."""
    file = Mapped(path)
    try:
        if file.map[:4] == b"PK\x03\x04":
            content = _read_zip(file)
        elif file.map[:2] == b"\x80\x02" and file.map[2:14].find(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") == 0:
            content = _read_legacy(path)
        else:
            content = _Reader(file, _Position(file.map)).load()
    except EngineError:
        raise
    except Exception as error:  # a damaged pickle fails in every way there is
        raise unreadable(path, f"{type(error).__name__}: {error}") from None
    return _tensors(path, content, member)


def _tensors(path: Path, content: Any, member: str) -> Dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get(member), dict):
        raise unreadable(path, f"it has no {member!r}")
    found = {name: value for name, value in content[member].items() if isinstance(name, str) and hasattr(value, "shape")}
    if not found:
        raise unreadable(path, f"its {member!r} holds not one tensor")
    return found


def _read_legacy(path: Path) -> Any:
    """torch's form from before 1.6 cannot be mapped; torch itself reads it, without code where it knows how."""
    import torch
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (TypeError, pickle.UnpicklingError) as error:
        raise unreadable(path, f"an old form that holds more than tensors ({error}); save it anew by torch 1.6 or later") from None


def _read_zip(file: Mapped) -> Any:
    with zipfile.ZipFile(file.path) as archive:
        names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(names) != 1:
            raise unreadable(file.path, "a zip without one data.pkl")
        info = archive.getinfo(names[0])
        if info.file_size > MOST_PICKLE_BYTES:
            raise unreadable(file.path, f"its index has {info.file_size} bytes")
        index, folder = archive.read(info), names[0][: -len("data.pkl")]

        def storage(identifier: Tuple) -> _Storage:
            if not (isinstance(identifier, tuple) and len(identifier) >= 5 and identifier[0] == "storage"):
                raise unreadable(file.path, "it refers to something that is no storage")
            kind, key, count = identifier[1], identifier[2], identifier[4]
            if not isinstance(kind, _StorageKind):
                raise unreadable(file.path, f"storage {key} has an unknown type")
            return _place(file, archive.getinfo(f"{folder}data/{key}"), kind.dtype, count)

        return _Reader(file, _Position(index), storage).load()


def _place(file: Mapped, info: zipfile.ZipInfo, dtype: str, count: int) -> _Storage:
    """Where a member's bytes begin: after its local header, whose length differs from the directory's copy."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size < count * _ITEM_BYTES[dtype]:
        raise unreadable(file.path, f"{info.filename} is compressed or too short")
    header = file.map[info.header_offset:info.header_offset + 30]
    name, extra = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > len(file.map):
        raise unreadable(file.path, f"{info.filename} reaches over the end of the file")
    return _Storage(dtype, start, info.file_size)


@dataclass(frozen=True)
class _Storage:
    dtype: str
    offset: int
    length: int


@dataclass(frozen=True)
class _StorageKind:
    dtype: str


class _Position:
    """A buffer read like a file, that says where it is."""

    def __init__(self, buffer: Any) -> None:
        self.buffer, self.at = buffer, 0

    def read(self, count: int) -> bytes:
        data = self.buffer[self.at:self.at + count]
        self.at += len(data)
        return bytes(data)

    def readline(self) -> bytes:
        end = self.buffer.find(b"\n", self.at)
        end = len(self.buffer) if end < 0 else end + 1
        return self.read(end - self.at)

    def skip(self, count: int) -> Blob:
        if self.at + count > len(self.buffer):
            raise EOFError(f"{count} bytes announced at {self.at}, but the file ends at {len(self.buffer)}")
        blob = Blob(self.at, count)
        self.at += count
        return blob


class Inert(dict):
    """What becomes of every class that a pickle names and that describes no array."""

    def __new__(cls, *_args: Any, **_named: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        pass

    def append(self, _value: Any) -> None:
        pass

    def extend(self, _values: Any) -> None:
        pass

    def add(self, _value: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_named: Any) -> Inert:
        return Inert()

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Ordered(dict):
    """An OrderedDict; torch hangs notes on a state dictionary, which do not matter here."""

    def __setstate__(self, _state: Any) -> None:
        pass


class _DType:
    """A pickled numpy dtype, kept as its letter and size."""

    def __init__(self, name: str, *_flags: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else str(name)
        self.order = "<"

    def __setstate__(self, state: Tuple) -> None:
        self.order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]

    def plain(self) -> str:
        if self.order not in ("<", "|", "=") or self.name not in _ITEM_BYTES or self.name == "bf16":
            raise ValueError(f"arrays of type {self.order}{self.name} are not read")
        return self.name


class _Array:
    """A pickled numpy array: shape, type and the bytes, or where they are."""

    def __init__(self, *_arguments: Any) -> None:
        self.state: Tuple = ()

    def __setstate__(self, state: Tuple) -> None:
        self.state = state


def _from_buffer(data: Any, dtype: _DType, shape: Tuple, order: str) -> _Array:
    """How numpy pickles arrays from protocol 5 on."""
    array = _Array()
    array.state = (1, shape, dtype, order != "C", data)
    return array


class _Reader(pickle._Unpickler):  # the one in Python: its steps can be replaced one by one
    """Builds the structure of a pickle with tensors left where they are."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Mapped, source: _Position, storage: Optional[Callable[[Tuple], _Storage]] = None) -> None:
        super().__init__(source, encoding="latin1")
        self._mapped, self._source, self._storage = file, source, storage

    def load(self) -> Any:
        return self._resolve(super().load(), 0)

    def persistent_load(self, pid: Any) -> _Storage:
        if self._storage is None:
            raise ValueError("a pickle of arrays refers to storages")
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and re.fullmatch(r"numpy\.(_)?core\.multiarray", module):
            return _Array
        if name == "_frombuffer" and re.fullmatch(r"numpy\.(_)?core\.numeric", module):
            return _from_buffer
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module, name) == ("collections", "OrderedDict"):
            return _Ordered
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageKind(_STORAGE_DTYPES[name])
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._rebuild
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_rest: tensor
        return Inert

    @staticmethod
    def _encode(text: Any, _encoding: str = "latin1") -> Any:
        return Blob(text.offset, text.length, latin1=True) if isinstance(text, Blob) else text.encode("latin-1")

    def _rebuild(self, storage: _Storage, start: int, size: Tuple, stride: Tuple, *_rest: Any) -> LazyTensor:
        width, count = _ITEM_BYTES[storage.dtype], math.prod(size)
        if start < 0 or any(n < 0 for n in (*size, *stride)) or len(size) != len(stride) or count * width > MOST_TENSOR_BYTES:
            raise ValueError(f"a tensor of shape {list(size)} makes no sense")
        reach = sum((side - 1) * step for side, step in zip(size, stride)) + 1 if count else 0
        if (start + reach) * width > storage.length:
            raise ValueError(f"a tensor of shape {list(size)} reaches over the end of its storage")
        plain, expected = True, 1
        for side, step in zip(reversed(size), reversed(stride)):
            plain = plain and (side == 1 or step == expected)
            expected *= side
        if not plain and reach != count:  # a slice or a repeated row: nothing that a checkpoint of a model holds
            raise ValueError(f"a tensor of shape {list(size)} does not fill its storage")
        return LazyTensor(self._mapped, Blob(storage.offset + start * width, count * width), tuple(size), storage.dtype,
                          () if plain else tuple(stride))

    def _resolve(self, value: Any, depth: int) -> Any:
        """Turns arrays within nested dictionaries into LazyTensor; what is no dictionary holds no weights."""
        if isinstance(value, _Array):
            return self._array(value)
        if isinstance(value, dict) and not isinstance(value, Inert) and depth < 4:
            return {k: self._resolve(v, depth + 1) for k, v in value.items()}
        return value

    def _array(self, value: _Array) -> Any:
        _version, shape, dtype, by_columns, data = value.state
        name = dtype.plain()
        if by_columns and len(shape) > 1:
            raise ValueError("arrays in column order are not read")
        if isinstance(data, Blob):
            count = math.prod(shape) * _ITEM_BYTES[name]
            if count > MOST_TENSOR_BYTES or (not data.latin1 and count != data.length):
                raise ValueError(f"an array of shape {list(shape)} has {data.length} bytes")
            return LazyTensor(self._mapped, data, tuple(shape), name)
        import numpy as np
        raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
        return np.frombuffer(bytearray(raw), np.dtype(name)).reshape(shape)

    def _long(self, count: int, text: bool) -> None:
        """Takes a long run of bytes as a Blob if it lies in the file itself, reads it if it is short or in a frame."""
        if count < 0:
            raise pickle.UnpicklingError("a negative length")
        frame = self._unframer.current_frame
        framed = frame is not None and frame.tell() < len(frame.getbuffer())
        if count >= LAZY_BYTES and not framed and self._source.buffer is self._mapped.map:
            self.append(self._source.skip(count))
        else:
            data = self.read(count)
            self.append(str(data, "utf-8", "surrogatepass") if text else data)

    def load_binbytes(self) -> None:
        self._long(struct.unpack("<I", self.read(4))[0], text=False)

    def load_binbytes8(self) -> None:
        self._long(struct.unpack("<Q", self.read(8))[0], text=False)

    def load_binunicode(self) -> None:
        self._long(struct.unpack("<I", self.read(4))[0], text=True)

    def load_binunicode8(self) -> None:
        self._long(struct.unpack("<Q", self.read(8))[0], text=True)

    def load_binstring(self) -> None:
        count = struct.unpack("<i", self.read(4))[0]
        if count >= LAZY_BYTES:
            self._long(count, text=False)
        else:
            self.append(self.read(count).decode("latin-1"))

    dispatch[pickle.BINBYTES[0]] = load_binbytes
    dispatch[pickle.BINBYTES8[0]] = load_binbytes8
    dispatch[pickle.BYTEARRAY8[0]] = load_binbytes8
    dispatch[pickle.BINUNICODE[0]] = load_binunicode
    dispatch[pickle.BINUNICODE8[0]] = load_binunicode8
    dispatch[pickle.BINSTRING[0]] = load_binstring
