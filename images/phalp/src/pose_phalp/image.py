"""What is changed in the Python of the user's image before phalp and hmr2 are imported, and why.

Everything here is an override in this process alone; no file of the image is touched.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import socket
import subprocess
import sys
import types
import warnings
from typing import Any, Dict, List, NamedTuple, NoReturn, Tuple

from pose_phalp.errors import EngineError, Failure, one_line

NEEDED = ("numpy", "cv2", "torch", "detectron2", "phalp", "hmr2")
PROBE_SECONDS = 60
# Makes a picture off-screen, in a process of its own: a broken driver may take the process with it.
PROBE = "import pyrender; r = pyrender.OffscreenRenderer(64, 64); r.delete()"


def prepare(render: str) -> None:
    """Makes phalp and hmr2 importable. render: egl, osmesa, or empty for no renderer at all."""
    forbid_network()
    old_names()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if not render:
        stand_in_renderer()
    for name in NEEDED:
        load(name)
    load("phalp.trackers.PHALP")
    load("hmr2.models")
    if render:
        os.environ["PYOPENGL_PLATFORM"] = render  # phalp sets egl while it is imported


def load(name: str) -> Any:
    """Imports a module of the image, or says which is missing and what to do."""
    try:
        return importlib.import_module(name)
    except EngineError:
        raise
    except Exception as error:  # a package that does not fit fails in every way there is
        raise EngineError(Failure.IMAGE_UNSUITABLE, f"the image cannot import {name} ({type(error).__name__}: {error}); "
                          "the engine's image must hold phalp and hmr2 with what they need: `kubectl pose engines check` "
                          "lists what is missing") from error


def choose_renderer() -> Tuple[str, str]:
    """egl or osmesa, whichever draws here, and nothing; or nothing, and why neither does."""
    said: List[str] = []
    for platform in ("egl", "osmesa"):
        environment = dict(os.environ, PYOPENGL_PLATFORM=platform)
        try:
            done = subprocess.run([sys.executable, "-c", PROBE], env=environment, timeout=PROBE_SECONDS, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except (OSError, subprocess.TimeoutExpired) as error:
            said.append(f"{platform}: {error}")
            continue
        if done.returncode == 0:
            return platform, ""
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said.append(f"{platform}: {words[-1] if words else f'exit {done.returncode}'}")
    return "", one_line("; ".join(said), 300)


def stand_in_renderer() -> None:
    """Puts an inert pyrender in place: phalp and hmr2 import it at their top, whether or not a picture is wanted."""
    module = types.ModuleType("pyrender")

    class OffscreenRenderer:
        def __init__(self, *_arguments: Any, **_named: Any) -> None:
            pass

        def render(self, *_arguments: Any, **_named: Any) -> NoReturn:
            raise EngineError(Failure.INTERNAL, "a picture was asked for where none can be drawn")

        def delete(self) -> None:
            pass

    class Nothing:
        def __init__(self, *_arguments: Any, **_named: Any) -> None:
            pass

    module.OffscreenRenderer = OffscreenRenderer  # type: ignore[attr-defined]

    def anything(name: str) -> Any:
        if name.startswith("_"):  # the import system and inspect ask for these
            raise AttributeError(name)
        return Nothing

    module.__getattr__ = anything  # type: ignore[method-assign]
    sys.modules["pyrender"] = module


def forbid_network() -> None:
    """Turns any attempt to download into an error that names what was wanted: weights come from the mounted cache alone."""
    def refuse(what: str) -> NoReturn:
        raise EngineError(Failure.WEIGHTS_MISSING, f"something wanted to download {one_line(what, 200)}, but weights come from "
                          "the mounted cache alone: put the file there (`pose-phalp check` names every place)")

    import urllib.request
    urllib.request.urlopen = lambda url, *_a, **_k: refuse(getattr(url, "full_url", str(url)))  # type: ignore[assignment]
    urllib.request.urlretrieve = lambda url, *_a, **_k: refuse(str(url))  # type: ignore[assignment]
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None):
            refuse(f"from {address}")
        return connect(self, address)

    socket.socket.connect = local_only  # type: ignore[method-assign]
    socket.getaddrinfo = lambda host, *_a, **_k: refuse(f"from {host}")  # type: ignore[assignment]


def old_names() -> None:
    """Names that chumpy, within the original SMPL file, still uses and that Python 3.11 and numpy 1.24 took away."""
    if not hasattr(inspect, "getargspec"):
        inspect.getargspec = _getargspec  # type: ignore[attr-defined]
    import numpy as np
    for name, kind in (("bool", bool), ("int", int), ("float", float), ("complex", complex), ("object", object),
                       ("str", str), ("unicode", str)):
        if name not in np.__dict__:
            setattr(np, name, kind)


class _ArgSpec(NamedTuple):
    args: Any
    varargs: Any
    keywords: Any
    defaults: Any


def _getargspec(function: Any) -> _ArgSpec:
    spec = inspect.getfullargspec(function)
    return _ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def stay_on_cpu() -> None:
    """Upstream calls .cuda() wherever it uses a tensor. On a CPU that must mean: leave it where it is."""
    import torch
    torch.Tensor.cuda = lambda self, *_a, **_k: self
    torch.nn.Module.cuda = lambda self, *_a, **_k: self


def trusting_load() -> None:
    """torch.load for upstream's own calls: on the CPU, and with what torch 2.6 no longer does by itself.

    The files were checked before; those of any size are read by checkpoint.py and never come here.
    """
    import torch
    original = torch.load

    def load_cpu(source: Any, *arguments: Any, **named: Any) -> Any:
        named.setdefault("map_location", "cpu")
        named.setdefault("weights_only", False)
        return original(source, *arguments, **named)

    torch.load = load_cpu


def require_device(device: str) -> Any:
    """torch's device, after a first allocation on it."""
    import torch
    if device == "cpu":
        stay_on_cpu()
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EngineError(Failure.GPU_UNAVAILABLE, f"torch {torch.__version__} sees no GPU; check that the pod asks for one, the "
                          f"driver, and that this torch was built for CUDA (it says {torch.version.cuda})")
    torch.zeros(1, device="cuda")
    return torch.device("cuda")


def return_memory(device: Any) -> None:
    """Gives the GPU memory that torch keeps for pictures of the last clip's size back before the next one's."""
    if device.type == "cuda":
        import torch
        torch.cuda.empty_cache()


def versions() -> Dict[str, str]:
    """Versions of what shapes the result, as far as the image knows them."""
    from importlib import metadata
    found = {}
    for name in ("phalp", "hmr2", "torch", "detectron2"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
