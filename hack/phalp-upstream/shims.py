"""What plain upstream needs to run on a machine without a GPU at all. The adapter does this by itself; this is for comparison."""

from __future__ import annotations

import sys
import types


def no_gpu() -> None:
    """The adapter's overrides of the image, alone: inert renderer, old names, .cuda() that stays."""
    from pose_phalp import image
    image.old_names()
    image.stand_in_renderer()
    image.stay_on_cpu()
    image.trusting_load()
    from phalp.trackers import PHALP as upstream
    get_cfg = upstream.get_cfg

    def on_cpu():
        config = get_cfg()
        config.MODEL.DEVICE = "cpu"
        return config

    upstream.get_cfg = on_cpu


def depth_renderer() -> None:
    """A neural_renderer, which upstream builds with CUDA: only its depth, drawn by the adapter's z-buffer."""
    from pose_phalp import texture

    class Renderer:
        def __init__(self, **_named):
            pass

        def __call__(self, vertices, faces, mode, K, R, t):
            return texture.depth_image(vertices, faces[0].long())

    module = types.ModuleType("neural_renderer")
    module.Renderer = Renderer
    sys.modules["neural_renderer"] = module
