"""The files with weights that a run needs: where each belongs, where a person gets it, and whether it is what it should be.

Nothing here opens a pickle: what is in one is read from its opcodes alone (picklescan). Sizes are lower bounds that tell a
broken-off download from a whole file, well below the true sizes, so that files saved in another way pass.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from pose_phalp import picklescan
from pose_phalp.errors import EngineError, Failure

DIGESTS_FILE = "weights.sha256"
HASHED_ALWAYS = 256 << 20  # bytes up to which a digest is checked even where nobody asked: a quarter of a second
MOST_DIGESTS = 1 << 20  # bytes of a weights.sha256
MB = 1_000_000

_PHALP = "PHALP's own download (its README); MIT licence of the project, no licence of the weights is stated"
_HMR2 = "4D-Humans' archive hmr2_data.tar.gz (its README); MIT licence of the project, no licence of the weights is stated"
_DETECTRON2 = "detectron2's model zoo (its MODEL_ZOO.md); CC BY-SA 3.0"
_SMPL = ("the SMPL project's own site: register there (smpl.is.tue.mpg.de, or smplify.is.tue.mpg.de for the older file), accept its "
         "licence (non-commercial use, no passing on), take the neutral model for Python and save it under this name")


@dataclass(frozen=True)
class WeightFile:
    """One file. root is the folder that weights.sha256 would lie in; name is the path below it, with slashes.

    kind says what it must look like: torch, pickle, smpl, npy, npz, yaml or any. min_bytes: see above. digest: an
    algorithm and the first hex digits of its digest, as far as the name carries them. optional: plain upstream wants it to
    exist, the adapter does not read it.
    """

    name: str
    root: Path
    kind: str
    min_bytes: int
    needed_by: str
    source: str
    digest: Optional[Tuple[str, str]] = None
    optional: bool = False

    @property
    def path(self) -> Path:
        return self.root / self.name


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file and what to do. fatal: a run cannot do without.

    code is Missing, Unreadable, Pointer, Page, Small, Broken, WrongModel, Unsafe, Digest or DigestsFile.
    """

    file: WeightFile
    code: str
    what: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.file.path} {self.what}: {self.remedy}"


def roots(env: Optional[Mapping[str, str]] = None) -> Tuple[Path, Path, Path]:
    """The caches of upstream, of torch.hub and of iopath, as these find them: HOME, TORCH_HOME, FVCORE_CACHE."""
    env = os.environ if env is None else env
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise EngineError(Failure.WEIGHTS_MISSING, f"HOME is {home!r}, so nobody can say where weights belong: set HOME in the "
                                                   "engine's environment (the chart's value engines.phalp.home)")
    cache = Path(home) / ".cache"
    torch = env.get("TORCH_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or str(cache), "torch")
    iopath = env.get("FVCORE_CACHE") or "~/.torch/iopath_cache"
    return cache, _expand(torch, home), _expand(iopath, home)


def _expand(path: str, home: str) -> Path:
    return Path(home + path[1:] if path == "~" or path.startswith("~/") else path)


def required(detector: Optional[str], boxes: bool = False, env: Optional[Mapping[str, str]] = None) -> List[WeightFile]:
    """The files that a run with this detector opens (vitdet, maskrcnn, or None and "none"), SMPL first.

    With boxes no detector is loaded, whatever its name. Raises EngineError where HOME is not set.
    """
    cache, torch, iopath = roots(env)
    files = [
        WeightFile("4DHumans/data/smpl/SMPL_NEUTRAL.pkl", cache, "smpl", 20 * MB, "HMR2's body model", _SMPL),
        WeightFile("phalp/3D/models/smpl/SMPL_NEUTRAL.pkl", cache, "smpl", 20 * MB, "PHALP's body model", _SMPL),
        WeightFile("4DHumans/logs/train/multiruns/hmr2/0/checkpoints/epoch=35-step=1000000.ckpt", cache, "torch", 1200 * MB,
                   "HMR2", _HMR2),
        WeightFile("4DHumans/logs/train/multiruns/hmr2/0/model_config.yaml", cache, "yaml", 100, "HMR2", _HMR2),
        WeightFile("4DHumans/data/SMPL_to_J19.pkl", cache, "pickle", 100_000, "HMR2's joints", _HMR2),
        WeightFile("4DHumans/data/smpl_mean_params.npz", cache, "npz", 500, "HMR2's first guess", _HMR2),
        WeightFile("phalp/3D/SMPL_to_J19.pkl", cache, "pickle", 100_000, "PHALP's joints", _PHALP),
        WeightFile("phalp/3D/smpl_mean_params.npz", cache, "npz", 500, "PHALP's first guess", _PHALP),
        WeightFile("phalp/3D/mean_std.npy", cache, "npy", 500, "the pose predictor", _PHALP),
        WeightFile("phalp/3D/texture.npz", cache, "npz", 1000, "PHALP's appearance", _PHALP),
        WeightFile("phalp/3D/bmap_256.npy", cache, "npy", 256 * 256 * 3, "PHALP's appearance", _PHALP),
        WeightFile("phalp/3D/fmap_256.npy", cache, "npy", 256 * 256, "PHALP's appearance", _PHALP),
        WeightFile("phalp/weights/hmar_v2_weights.pth", cache, "torch", 50 * MB, "PHALP's appearance", _PHALP),
        WeightFile("phalp/weights/pose_predictor.pth", cache, "torch", MB, "the pose predictor", _PHALP),
        WeightFile("phalp/weights/pose_predictor.yaml", cache, "yaml", 100, "the pose predictor", _PHALP),
    ]
    if not boxes:
        files += _detector(detector, iopath)
    optional = (("phalp/3D/head_faces.npy", _PHALP), ("phalp/ava/ava_labels.pkl", _PHALP),
                ("phalp/ava/ava_class_mapping.pkl", _PHALP), ("4DHumans/hmr2_data.tar.gz", _HMR2))
    plain = "plain upstream alone"
    return [*files, *(WeightFile(name, cache, "any", 0, plain, source, optional=True) for name, source in optional),
            WeightFile("hub/checkpoints/resnet50-19c8e357.pth", torch, "torch", 90 * MB, plain,
                       "torchvision's model zoo; BSD-3-Clause", ("sha256", "19c8e357"), optional=True)]


def _detector(detector: Optional[str], iopath: Path) -> List[WeightFile]:
    # The model zoo puts the first digits of each file's md5 into its name.
    if detector == "vitdet":
        return [WeightFile("detectron2/ViTDet/COCO/cascade_mask_rcnn_vitdet_h/f328730692/model_final_f05665.pkl", iopath, "pickle",
                           1200 * MB, "the ViTDet detector", _DETECTRON2, ("md5", "f05665"))]
    if detector == "maskrcnn":
        return [WeightFile("detectron2/new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ/42045954/model_final_ef3a80.pkl",
                           iopath, "pickle", 50 * MB, "the Mask R-CNN detector", _DETECTRON2, ("md5", "ef3a80"))]
    return []


def verify(files: Iterable[WeightFile], digests: bool = False) -> List[Problem]:
    """What is wrong with the files, those that stop a run first. No problem: all are there and look right.

    Without digests only files of at most HASHED_ALWAYS bytes are hashed; with it every file that has a digest in its name
    or in a weights.sha256.
    """
    files = list(files)
    found: List[Problem] = []
    listed: Dict[Path, Dict[str, str]] = {}
    for root in {f.root for f in files}:
        listed[root], wrong = read_digests(root)
        own = WeightFile(DIGESTS_FILE, root, "any", 0, "checking the others", "your own", optional=True)
        found += [Problem(own, "DigestsFile", text, "write it with sha256sum in that folder", fatal=False) for text in wrong]
    for file in files:
        problem = _look(file) or _digest(file, listed[file.root].get(file.name), digests)
        if problem is not None:
            found.append(replace(problem, fatal=not file.optional))
    return sorted(found, key=lambda p: not p.fatal)


def summary(files: Iterable[WeightFile]) -> str:
    """One line for the start of a log: how many files are there, of how many, and their size."""
    files = [f for f in files if not f.optional]
    sizes = [_size(f.path) for f in files]
    present = [s for s in sizes if s is not None]
    where = ", ".join(sorted({str(f.root) for f in files}))
    return f"{len(present)} of {len(files)} weight files, {sum(present) / 1e9:.2f} GB, below {where}"


def _size(path: Path) -> Optional[int]:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _look(file: WeightFile) -> Optional[Problem]:
    """Everything about a file that can be told without reading it whole."""
    try:
        with open(file.path, "rb") as source:
            info = os.fstat(source.fileno())
            if not stat.S_ISREG(info.st_mode):
                return Problem(file, "Unreadable", "is no regular file", _bring(file))
            start = source.read(512)
            return _content(file, source, start, info.st_size)
    except FileNotFoundError:
        return Problem(file, "Missing", "is missing", _bring(file))
    except OSError as error:
        return Problem(file, "Unreadable", f"cannot be read by {_who()} ({error.strerror}{_rights(file.path)})",
                       "let this user or its group read it, in the image by `chmod -R a+rX`, in a volume by the rights of its files")


def _bring(file: WeightFile) -> str:
    return f"put it there, for {file.needed_by}. It comes from {file.source}"


def _who() -> str:
    return f"user {os.geteuid()}, group {os.getegid()}"


def _rights(path: Path) -> str:
    """Owner and mode of the first part of the path that this user cannot pass."""
    for part in [*reversed(path.parents), path]:
        try:
            info = part.stat()
        except OSError:
            return ""
        if not os.access(part, os.X_OK if stat.S_ISDIR(info.st_mode) else os.R_OK):
            return f"; {part} belongs to {info.st_uid}:{info.st_gid} with mode {stat.S_IMODE(info.st_mode):04o}"
    return ""


def _content(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    again = f"fetch it again; {_bring(file)}"
    if start.startswith(b"version https://git-lfs"):
        return Problem(file, "Pointer", "is a git-lfs pointer, not the file itself",
                       f"run `git lfs pull` where it came from; {_bring(file)}")
    if start.lstrip()[:64].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return Problem(file, "Page", "is a web page that was saved under the file's name: a login or an error", again)
    if file.kind == "any":
        return None
    if size < file.min_bytes:
        return Problem(file, "Small", f"has {size} bytes, at least {file.min_bytes} are expected: a download broke off", again)
    source.seek(0)
    checks = {"torch": _torch, "pickle": _pickle, "smpl": _smpl, "npy": _npy, "npz": _zip, "yaml": _text}
    return checks[file.kind](file, source, start, size)


def _torch(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    """A zip archive since torch 1.6, pickles in a row before."""
    return _zip(file, source, start, size) if start.startswith(b"PK") else _pickle(file, source, start, size)


def _zip(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    """The directory of a zip archive stands at its end, so a file that broke off has none."""
    try:
        with zipfile.ZipFile(source) as archive:
            inside = archive.infolist()
        if inside and max(i.header_offset + i.compress_size for i in inside) <= size:
            return None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        pass
    return Problem(file, "Broken", "is not whole: its directory, at the end of a zip archive, cannot be read",
                   f"fetch it again; {_bring(file)}")


def _pickle(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    return _scan(file, source)[1]


# What a pickle of arrays has no reason to name. Opening one that does would run a program.
_DANGEROUS = frozenset(("os", "posix", "nt", "subprocess", "sys", "socket", "shutil", "runpy", "importlib", "pty", "commands",
                        "webbrowser", "ctypes", "multiprocessing", "code", "pdb", "timeit", "builtins", "__builtin__"))
_HARMLESS_BUILTINS = frozenset(("object", "set", "frozenset", "list", "dict", "tuple", "bytearray", "complex", "slice", "range",
                                "xrange", "int", "long", "float", "bool", "str", "bytes", "unicode"))


def _scan(file: WeightFile, source) -> Tuple[Optional[picklescan.Scan], Optional[Problem]]:
    try:
        seen = picklescan.scan(source)
    except picklescan.Broken as error:
        return None, Problem(file, "Broken", f"is no whole pickle: {error}", f"fetch it again; {_bring(file)}")
    bad = [n for n in seen.names if n.module.split(".")[0] in _DANGEROUS
           and not (n.module in ("builtins", "__builtin__") and n.name in _HARMLESS_BUILTINS)]
    if bad:
        return None, Problem(file, "Unsafe", f"would run {bad[0]} when it is opened, which no file of weights does",
                             f"do not open it, and ask where it came from; {_bring(file)}")
    return seen, None


# The arrays of SMPL that smplx reads, with their shapes: 6890 vertices, 24 joints, 23 * 9 pose blend shapes. -1: any from 10.
SMPL_SHAPES = {"v_template": (6890, 3), "shapedirs": (6890, 3, -1), "posedirs": (6890, 3, 207), "J_regressor": (24, 6890),
               "weights": (6890, 24), "kintree_table": (2, 24), "f": (13776, 3)}
_OTHER_MODELS = {10475: "SMPL-X", 5023: "FLAME, a head", 778: "MANO, a hand", 3889: "SMAL, an animal"}


def _smpl(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    """Whether it is SMPL. A male or female model has the same shapes and cannot be told from the neutral one."""
    wrong = f"use the neutral SMPL model; {_bring(file)}"
    if start.startswith(b"PK"):
        return Problem(file, "WrongModel", "is an archive (.npz or .zip), not the pickle that upstream opens", wrong)
    seen, problem = _scan(file, source)
    if problem is not None:
        return problem
    if not isinstance(seen.top, dict):
        return Problem(file, "WrongModel", "holds no dictionary of arrays, so it is no body model", wrong)
    shapes = {key: picklescan.shape(seen.top.get(key)) for key in SMPL_SHAPES}
    template = shapes["v_template"]
    if template is not None and template[0] in _OTHER_MODELS:
        return Problem(file, "WrongModel", f"is {_OTHER_MODELS[template[0]]} ({template[0]} vertices), not SMPL (6890)", wrong)
    if (shapes["J_regressor"] or (0,))[0] == 52:
        return Problem(file, "WrongModel", "is SMPL+H (52 joints, with hands), not SMPL (24)", wrong)
    gender = str(seen.top.get("gender", "neutral"))
    if gender in ("male", "female"):
        return Problem(file, "WrongModel", f"is the {gender} model", wrong)
    for key, want in SMPL_SHAPES.items():
        if key not in seen.top:
            return Problem(file, "WrongModel", f"has no {key}, so it is not SMPL", wrong)
        if shapes[key] is not None and not _fits(shapes[key], want):
            ours = str(want).replace("-1", "10 or more")
            return Problem(file, "WrongModel", f"has {key} of shape {shapes[key]}, SMPL's is {ours}", wrong)
    return None


def modules(file: WeightFile) -> List[str]:
    """The packages that opening a pickle would import, without opening it; none for what is no pickle or not there."""
    try:
        with open(file.path, "rb") as source:
            return sorted({name.module.split(".")[0] for name in picklescan.scan(source).names})
    except (OSError, picklescan.Broken):
        return []


def _fits(shape: Tuple[int, ...], want: Tuple[int, ...]) -> bool:
    return len(shape) == len(want) and all(s == w or w == -1 and s >= 10 for s, w in zip(shape, want))


def _npy(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    """An array in numpy's own format: the header says how long the file must be, unless it holds objects."""
    again = f"fetch it again; {_bring(file)}"
    if not start.startswith(b"\x93NUMPY") or len(start) < 12:
        return Problem(file, "Broken", "is no array in numpy's format", again)
    wide = start[6] >= 2
    begin = 12 if wide else 10
    end = begin + int.from_bytes(start[8:begin], "little")
    source.seek(begin)
    try:
        header = ast.literal_eval(source.read(min(end, 1 << 16) - begin).decode("latin-1"))
        kind, shape = str(header["descr"]), header["shape"]
        count = 1
        for n in shape:
            count *= int(n)
        item = int(kind[2:]) if "O" not in kind else 0
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        return Problem(file, "Broken", "has a header that makes no sense", again)
    if size < end + count * item:
        return Problem(file, "Broken", f"has {size} bytes, its header says {end + count * item}: a download broke off", again)
    return None


def _text(file: WeightFile, source, start: bytes, size: int) -> Optional[Problem]:
    if b"\0" in start or b":" not in start:
        return Problem(file, "Broken", "is no YAML", f"fetch it again; {_bring(file)}")
    return None


def read_digests(root: Path) -> Tuple[Dict[str, str], List[str]]:
    """The sha256 of each name in root's weights.sha256, as sha256sum writes it, and what of it makes no sense."""
    try:
        with open(root / DIGESTS_FILE, "rb") as source:
            raw = source.read(MOST_DIGESTS + 1)
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"cannot be read ({error.strerror})"]
    if len(raw) > MOST_DIGESTS:
        return {}, [f"is larger than {MOST_DIGESTS} bytes"]
    digests, wrong = {}, []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        digest, _, name = line.partition(" ")
        name = name.lstrip(" *")
        name = name[2:] if name.startswith("./") else name
        if len(digest) == 64 and set(digest.lower()) <= set("0123456789abcdef") and name:
            digests[name] = digest.lower()
        else:
            wrong.append(f"line {number} is no digest and name")
    return digests, wrong[:3]


def _digest(file: WeightFile, listed: Optional[str], asked: bool) -> Optional[Problem]:
    wanted = [("sha256", listed, DIGESTS_FILE)] if listed else []
    if file.digest is not None and not listed:  # the user's own list wins: weights trained further keep their name
        wanted.append((*file.digest, "its own name"))
    size = _size(file.path)
    if not wanted or size is None or (size > HASHED_ALWAYS and not asked):
        return None
    try:
        have = dict(_hashes(file.path, {algorithm for algorithm, _, _ in wanted}))
    except OSError as error:
        return Problem(file, "Unreadable", f"cannot be read to its end ({error.strerror})", "look at the volume that it lies on")
    for algorithm, digest, said_by in wanted:
        if not have[algorithm].startswith(digest):
            return Problem(file, "Digest", f"has {algorithm} {have[algorithm][:12]}..., {said_by} says {digest[:12]}",
                           f"fetch it again, or correct {DIGESTS_FILE} if this file is the right one")
    return None


def _hashes(path: Path, algorithms: Iterable[str]) -> Iterator[Tuple[str, str]]:
    made = {a: hashlib.new(a, usedforsecurity=False) for a in algorithms}
    with open(path, "rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            for h in made.values():
                h.update(block)
    for algorithm, h in made.items():
        yield algorithm, h.hexdigest()
