"""What a person's surface looks like: the picture laid onto SMPL's texture map, and the network that gives body and camera.

The tracker tells people apart by this texture. Upstream finds hidden surface with a renderer that is built with CUDA
(neural_renderer); here that is a small z-buffer in torch, so that neither a CPU nor an image without that package is
left out. The geometry is that of 4D-Humans: a pinhole camera of 5000 pixels' focal length before a crop of 256 pixels.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple

CROP = 256  # pixels of a side of the crop and of the texture map
FOCAL_LENGTH = 5000.0  # pixels
NEAR, FAR = 0.1, 100.0  # metres; the far plane is the depth where nothing is
DEPTH_SLACK = 1e-4  # metres
MOST_CANDIDATES = 4_000_000  # pixels of faces looked at in one go: bounds the memory for odd meshes


def depth_image(vertices: Any, faces: Any) -> Any:
    """Depth in metres, (B, 256, 256), of meshes before the camera; FAR where there is none.

    vertices: (B, V, 3) metres in the camera's frame, faces: (F, 3) indices. Both sides of a face count. A pixel is
    covered if its centre lies in the face; its depth is interpolated as 1/z, which is exact under perspective.
    """
    import torch
    images = []
    for mesh in vertices:
        points = mesh[:, :2] / mesh[:, 2:3] * FOCAL_LENGTH + CROP / 2
        images.append(_rasterise(points[faces], mesh[:, 2][faces]))
    return torch.stack(images)


def _rasterise(corners: Any, depths: Any) -> Any:
    """corners: (F, 3, 2) pixels, depths: (F, 3) metres. Returns (256, 256)."""
    import torch
    low = torch.ceil(corners.amin(dim=1) - 0.5).clamp(0, CROP).long()
    high = torch.floor(corners.amax(dim=1) - 0.5).clamp(-1, CROP - 1).long()
    size = (high - low + 1).clamp(min=0)
    usable = torch.isfinite(corners).all(dim=2).all(dim=1) & (depths > 0).all(dim=1)
    counts = torch.where(usable, size[:, 0] * size[:, 1], torch.zeros_like(size[:, 0]))
    image = torch.full((CROP * CROP,), FAR, dtype=corners.dtype, device=corners.device)
    for faces in _batches(counts):
        _draw(image, corners[faces], depths[faces], low[faces], size[faces], counts[faces])
    return image.view(CROP, CROP)


def _batches(counts: Any) -> Any:
    """Face numbers in runs of at most MOST_CANDIDATES pixels (a single face never has more than 256 x 256)."""
    import torch
    order = torch.nonzero(counts)[:, 0]
    total = torch.cumsum(counts[order], 0)
    number = torch.div(total, MOST_CANDIDATES, rounding_mode="floor")
    return [order[number == k] for k in range(int(number[-1]) + 1)] if len(order) else []


def _draw(image: Any, corners: Any, depths: Any, low: Any, size: Any, counts: Any) -> None:
    import torch
    face = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    first = torch.cumsum(counts, 0) - counts
    nth = torch.arange(len(face), device=face.device) - first[face]
    column = low[face, 0] + nth % size[face, 0]
    row = low[face, 1] + torch.div(nth, size[face, 0], rounding_mode="floor")
    weights = _barycentric(corners[face], column + 0.5, row + 0.5)
    inside = (weights >= 0).all(dim=1)
    depth = 1 / (weights / depths[face]).sum(dim=1)
    seen = inside & (depth > NEAR) & (depth < FAR)
    image.scatter_reduce_(0, (row * CROP + column)[seen], depth[seen].to(image.dtype), reduce="amin")


def _barycentric(corners: Any, x: Any, y: Any) -> Any:
    """Weights (N, 3) of the corners (N, 3, 2) at the points; NaN, which counts as outside, for a face seen edge-on."""
    import torch
    (ax, ay), (bx, by), (cx, cy) = (corners[:, k].unbind(1) for k in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    first = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
    second = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
    return torch.stack((first, second, 1 - first - second), dim=1)


def surface_points(vertices: Any, faces: Any, face_of_texel: Any, weights_of_texel: Any) -> Tuple[Any, Any]:
    """Points (B, N, 3) on the mesh for the N used texels, and which texels (256, 256) these are.

    face_of_texel: (256, 256), below 0 where the map is empty. weights_of_texel: (256, 256, 3) barycentric.
    """
    import torch
    used = face_of_texel >= 0
    triangles = vertices[:, faces[face_of_texel[used]]]
    return torch.einsum("bnkd,nk->bnd", triangles, weights_of_texel[used]), used


def unwrap(crop: Any, vertices: Any, faces: Any, face_of_texel: Any, weights_of_texel: Any) -> Any:
    """The texture (B, 4, 256, 256) that a crop shows: colours, and 1 in the last channel where the surface was seen.

    crop: (B, 4, 256, 256), the normalised picture and the person's mask 0..1.
    """
    import torch
    points, used = surface_points(vertices, faces, face_of_texel, weights_of_texel)
    where = (FOCAL_LENGTH / (CROP / 2) * points[..., :2] / points[..., 2:3])[:, None]  # -1..1 over the crop
    depth = depth_image(vertices, faces)
    sample = torch.nn.functional.grid_sample
    nearest = sample(depth[:, None], where, align_corners=False)[:, 0, 0]
    colours = sample(crop, where, align_corners=False)[:, :, 0]
    hidden = points[..., 2] > nearest + DEPTH_SLACK
    colours[:, 3][hidden] = 0
    texture = torch.zeros((crop.shape[0], 4, CROP, CROP), dtype=torch.float, device=crop.device)
    texture[:, :, used] = colours
    return texture


def make_sampler_class() -> Any:
    """The network upstream calls HMAR, as a class: torch is imported only when it is asked for."""
    import torch

    class BodySampler(torch.nn.Module):
        """HMR2 for body and camera, PHALP's older network for the texture's embedding and its SMPL layer for joints."""

        def __init__(self, appearance: Any, body: Any, weights_of_texel: Any, face_of_texel: Any) -> None:
            super().__init__()
            self.hmar_old = appearance
            self.smpl = appearance.smpl
            self.model = body
            self.register_buffer("tex_bmap", weights_of_texel)
            self.register_buffer("tex_fmap", face_of_texel)
            self.register_buffer("faces", torch.from_numpy(appearance.smpl.faces.astype("int64")))

        def forward(self, crops: Any) -> Dict[str, Any]:
            """crops: (B, 4, 256, 256), normalised picture and mask 0..255. Gives upstream's dictionary."""
            crop = torch.cat((crops[:, :3], crops[:, 3:].clip(0, 1)), dim=1)
            found = self.model({"img": crop[:, :3], "mask": crop[:, 3]})
            vertices = found["pred_vertices"] + found["pred_cam_t"][:, None]
            texture = unwrap(crop, vertices, self.faces, self.tex_fmap, self.tex_bmap)
            return {"uv_image": texture, "uv_vector": self.hmar_old.process_uv_image(texture),
                    "pose_smpl": found["pred_smpl_params"], "pred_cam": found["pred_cam"]}

        def autoencoder_hmar(self, *arguments: Any, **named: Any) -> Any:
            return self.hmar_old.autoencoder_hmar(*arguments, **named)

        def get_3d_parameters(self, *arguments: Any, **named: Any) -> Any:
            return self.hmar_old.get_3d_parameters(*arguments, **named)

    return BodySampler
