"""Size, rate and length of an MP4 video, from its index alone. An image of OpenPose need not have ffprobe.

The operator's prepared video is an upright MP4 with one H.264 stream of constant rate. The file is outside input all the same:
offsets are checked against the file, and only the index is read, with a bound. Boxes as in ISO/IEC 14496-12.
"""

import collections
import struct

from pose_openpose.report import EngineError, Failure

MAX_INDEX = 256 << 20  # bytes; 10 million frames need about 120 MB
MAX_SIDE = 16384
MAX_FRAMES = 10000000

VideoInfo = collections.namedtuple("VideoInfo", "width height fps frames")
VideoInfo.__doc__ = "Size in pixels, frames a second (the mean), and the number of frames that the index lists."


def unreadable(path, message):
    return EngineError(Failure.INPUT_UNREADABLE, "{}: {}".format(path, message))


def probe(path):
    """VideoInfo of the first video track of the file."""
    try:
        with open(str(path), "rb") as file:
            index = _read_index(path, file)
    except OSError as failure:
        raise unreadable(path, "cannot be read: {}".format(failure.strerror)) from None
    try:
        for kind, track in _boxes(index):
            if kind == b"trak":
                info = _track(track)
                if info is not None:
                    return _checked(path, info)
    except (struct.error, KeyError, ValueError) as failure:
        raise unreadable(path, "its index is broken: {}".format(failure)) from None
    raise unreadable(path, "no video track in it")


def _checked(path, info):
    if not (1 <= info.width <= MAX_SIDE and 1 <= info.height <= MAX_SIDE and 0 < info.fps <= 1000):
        raise unreadable(path, "{}x{} pixels at {:g} frames a second are more than the engine accepts".format(*info[:3]))
    if not 1 <= info.frames <= MAX_FRAMES:
        raise EngineError(Failure.NO_FRAMES, "{}: {} frames; 1 to {} can be handled".format(path, info.frames, MAX_FRAMES))
    return info


def _read_index(path, file):
    """The content of the box moov, wherever it stands among the file's boxes."""
    size_of_file = file.seek(0, 2)
    at = 0
    while at + 8 <= size_of_file:
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack(">Q", head[8:])[0], 16
        elif size == 0:
            size = size_of_file - at
        if size < header or at + size > size_of_file:
            raise unreadable(path, "no MP4, or broken off")
        if kind == b"moov":
            if size > MAX_INDEX:
                raise unreadable(path, "its index is larger than {} MiB".format(MAX_INDEX >> 20))
            file.seek(at + header)
            return file.read(size - header)
        at += size
    raise unreadable(path, "no MP4: it has no index")


def _boxes(content):
    """Kind and content of each box within another."""
    at, view = 0, memoryview(content)
    while at + 8 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, at)
        header = 8
        if size == 1:
            size, header = struct.unpack_from(">Q", view, at + 8)[0], 16
        if size < header or at + size > len(view):
            raise ValueError("box {!r} reaches beyond the one around it".format(kind))
        yield kind, view[at + header:at + size]
        at += size


def _child(content, *path):
    for wanted in path:
        content = next((inner for kind, inner in _boxes(content) if kind == wanted), None)
        if content is None:
            raise KeyError("no box {!r}".format(wanted))
    return content


def _track(track):
    """VideoInfo of a track, None if it holds something else than pictures."""
    media = _child(track, b"mdia")
    if bytes(_child(media, b"hdlr")[8:12]) != b"vide":
        return None
    header = _child(media, b"mdhd")
    scale = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    table = _child(media, b"minf", b"stbl")
    entry = next((inner for _, inner in _boxes(_child(table, b"stsd")[8:])), b"")
    width, height = struct.unpack_from(">HH", entry, 24)
    times = _child(table, b"stts")
    count, ticks = 0, 0
    for k in range(struct.unpack_from(">I", times, 4)[0]):
        samples, step = struct.unpack_from(">II", times, 8 + 8 * k)
        count, ticks = count + samples, ticks + samples * step
    listed = struct.unpack_from(">I", _child(table, b"stsz"), 8)[0]
    if ticks == 0 or scale == 0 or count != listed:
        raise ValueError("{} frames are timed, {} are listed".format(count, listed))
    return VideoInfo(width, height, count * scale / ticks, count)
