"""Upstream's tracker with the parts that must differ: where weights come from, in what order and memory, on which device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from pose_phalp import lean, log
from pose_phalp.checkpoint import read_checkpoint
from pose_phalp.errors import EngineError, Failure

Places = Dict[str, Path]  # a file's name, as the end of its path, to where it is
ENCODER = "encoder."
HMR2_CHECKPOINT = "epoch=35-step=1000000.ckpt"


class DetectorWeights:
    """Takes the place of detectron2's checkpointer: fills the model from the mounted file instead of copying it twice."""

    places: Dict[str, Path] = {}
    device: Any = None

    def __init__(self, model: Any, *_arguments: Any, **_named: Any) -> None:
        self.model = model

    def load(self, url: str, *_arguments: Any, **_named: Any) -> Dict[str, Any]:
        path = self.places.get(url.rsplit("/", 1)[-1])
        if path is None:
            raise EngineError(Failure.WEIGHTS_MISSING, f"the detector asks for {url}, which is none of the files that were checked")
        filled = lean.fill(self.model, read_checkpoint(path, "model"), self.device, path.name)
        lean.require_all(filled, path.name)
        return {}


def prepare_detector(device: Any, places: Places) -> None:
    """Makes upstream's detector class build without random values and fill from the mounted file."""
    from phalp.utils import utils_detectron2
    original = utils_detectron2.instantiate

    def instantiate(config: Any, *arguments: Any, **named: Any) -> Any:
        with lean.empty_parameters():
            return original(config, *arguments, **named)

    DetectorWeights.places, DetectorWeights.device = places, device
    utils_detectron2.instantiate = instantiate
    utils_detectron2.DetectionCheckpointer = DetectorWeights
    if device.type == "meta":  # the stand-in for a GPU: nothing is left to move
        import torch
        torch.nn.Module.cuda = lambda self, *_a, **_k: self


def load_detector(owner: Any) -> None:
    """Runs upstream's own set-up of the detector on owner, which needs only cfg. The second detector stays away."""
    from phalp.trackers.PHALP import PHALP
    log.stage("detector_load")
    PHALP.setup_detectron2(owner)


def load_appearance(config: Any, device: Any, places: Places) -> Any:
    """PHALP's older network. Only its encoder, SMPL layer and texture functions are used beside HMR2; the rest is left out."""
    from phalp.models.hmar import hmar
    path = places["hmar_v2_weights.pth"]
    backbone = hmar.resnet
    hmar.resnet = _unused_backbone
    try:
        with lean.empty_parameters():
            network = hmar.HMAR(config)
    finally:
        hmar.resnet = backbone
    for name in ("backbone", "texture_head", "smpl_head"):
        setattr(network, name, None)
    tensors = lean.strip(read_checkpoint(path, "model"), lambda name: ("encoding_head" in name, name[5:]))
    lean.require_all(lean.fill(network, tensors, device, path.name), path.name)
    return network


def _unused_backbone(*_arguments: Any, **_named: Any) -> Any:
    import torch
    return torch.nn.Identity()  # its ImageNet weights would be read and then never used


def load_body(device: Any, places: Places) -> Any:
    """HMR2 without its renderers and its training parts."""
    from hmr2.configs import get_config
    from hmr2.models import HMR2
    path = places[HMR2_CHECKPOINT]
    config = get_config(str(places["model_config.yaml"]), update_cachedir=True)
    if config.MODEL.BACKBONE.get("PRETRAINED_WEIGHTS", None):  # of the training; the checkpoint holds what became of them
        config.defrost()
        config.MODEL.BACKBONE.PRETRAINED_WEIGHTS = None
        config.freeze()
    with lean.empty_parameters():
        network = HMR2(config, init_renderer=False)
    if hasattr(network, "discriminator"):
        del network.discriminator
    lean.require_all(lean.fill(network, read_checkpoint(path, "state_dict"), device, path.name), path.name)
    return network.eval()


def load_sampler(config: Any, device: Any, places: Places) -> Any:
    """The network that upstream's tracker calls HMAR."""
    import numpy as np
    import torch

    from pose_phalp.texture import make_sampler_class
    body = load_body(device, places)
    appearance = load_appearance(config, device, places)
    weights = torch.tensor(np.load(places["bmap_256.npy"], allow_pickle=False), dtype=torch.float)
    faces = torch.tensor(np.load(places["fmap_256.npy"], allow_pickle=False), dtype=torch.long)
    return make_sampler_class()(appearance, body, weights, faces).to(device)


def load_predictor(config: Any, tracker: Any, device: Any, places: Places) -> Any:
    """The network that foresees a person's pose. A checkpoint that lacks a part of it is loaded as upstream does.

    Upstream takes "encoder." out of names wherever it stands, so that its own pose_shape_encoder finds no values and stays
    random, anew in each run. Here only the prefix goes.
    """
    from phalp.models.predictor import pose_transformer_v2 as upstream
    path = places["pose_predictor.pth"]
    with lean.empty_parameters():
        network = upstream.Pose_transformer_v2(config, tracker)
    tensors = lean.strip(read_checkpoint(path, "state_dict"), lambda name: (name.startswith(ENCODER), name[len(ENCODER):]))
    filled = lean.fill(network.encoder, tensors, device, path.name)
    if filled.missing:
        log.warning("WEIGHTS_INCOMPLETE", f"{path.name} lacks {len(filled.missing)} parameters ({filled.missing[0]}, ...); "
                                          "as upstream does, they stay random")
        network = upstream.Pose_transformer_v2(config, tracker)
        network.load_weights(str(path))
    return network.to(device)


def make_tracker(config: Any, device: Any, places: Places, detect: bool, aspect: Optional[List[int]]) -> Any:
    """Upstream's tracker with all models loaded, detector first. detect: whether a detector is loaded at all."""
    from hmr2.datasets.utils import expand_bbox_to_aspect_ratio
    from phalp.trackers.PHALP import PHALP

    class Tracker(PHALP):
        """Overrides the steps of upstream's constructor; the methods that find, describe and follow people stay its own."""

        def cached_download_from_drive(self, additional_urls: Any = None) -> None:
            """Where upstream downloads. It is the first step, so the largest model is loaded here."""
            if detect:
                prepare_detector(device, places)
                load_detector(self)

        def setup_detectron2_with_RPN(self) -> None:
            """A second detector, only for upstream's own way of given boxes."""

        def setup_detectron2(self) -> None:
            """Done in the first step."""

        def setup_hmr(self) -> None:
            log.stage("model_load")
            self.HMAR = load_sampler(self.cfg, device, places)

        def setup_predictor(self) -> None:
            self.pose_predictor = load_predictor(self.cfg, self, device, places)

        def setup_visualizer(self) -> None:
            """Done by prepare_drawing, for the first clip with an overlay."""

        def prepare_drawing(self) -> None:
            if not hasattr(self, "visualizer"):
                super().setup_visualizer()
                self.visualizer.device = device.type

        def default_setup(self) -> None:
            """No folders: results go where the operator wants them."""

        def get_detections(self, image: Any, frame_name: Any, t_: int, additional_data: Any = None, measurments: Any = None) -> Any:
            """Upstream's, with the boxes widened to the shape that HMR2 was trained on, as 4D-Humans does."""
            found = list(super().get_detections(image, frame_name, t_, additional_data or {}, measurments))
            found[1] = expand_bbox_to_aspect_ratio(found[0], aspect)
            return tuple(found)

    tracker = Tracker(config)
    tracker.widen = lambda boxes: expand_bbox_to_aspect_ratio(boxes, aspect)
    tracker.eval()
    return tracker


def make_config(overrides: Dict[str, Any]) -> Any:
    """Upstream's configuration with its defaults, and ours on top."""
    from omegaconf import OmegaConf
    from phalp.configs.base import FullConfig
    try:
        return OmegaConf.merge(OmegaConf.structured(FullConfig), OmegaConf.create(overrides))
    except Exception as error:
        if not type(error).__module__.startswith("omegaconf"):
            raise
        raise EngineError(Failure.USAGE, f"the PHALP of this image refuses a setting ({error}): correct --set, or use an image whose "
                                         "PHALP has it") from None


def rest_joints(sampler: Any) -> Any:
    """A function from betas (10,) to SMPL's 24 joints in rest pose, (24, 3) float32, metres.

    J = R (T + S b): regressor R on template T shaped by S (Loper et al., SMPL, 2015, equations 8 and 10).
    """
    import numpy as np
    smpl = sampler.smpl
    template, shapes, regressor = (getattr(smpl, name).detach().cpu().double().numpy()
                                   for name in ("v_template", "shapedirs", "J_regressor"))

    def joints(betas: Any) -> Any:
        count = min(len(betas), shapes.shape[2])
        vertices = template + shapes[:, :, :count] @ np.asarray(betas, dtype=np.float64)[:count]
        return (regressor @ vertices).astype(np.float32)

    return joints
