"""Holds meshes in their own colours, as scenes that are drawn and not trained, and reads them from files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor
from trimesh.visual.material import PBRMaterial

from threestudio_like.kernels.rasterize import Fragments
from threestudio_like.scenes.background import Background
from threestudio_like.scenes.base import MeshSettings
from threestudio_like.scenes.mesh import Mesh, Surface, Texture
from threestudio_like.scenes.signed_distance import loaded, placed
from threestudio_like.utils.color import linear_from_srgb, srgb_from_linear

HALF_DIAGONAL = 0.95
"""Of the box around what is read, in scene units: that of the Toybox's toys, which fits the cameras' view."""
LARGEST = 1024
"""Texels a side of a picture; more would flicker in views of a few hundred pixels."""
GREY = 0.6
"""The colour, of all three channels, of what has none."""
LINEAR = (".glb", ".gltf")
"""Formats whose factors and colours at vertices are linear light, and not sRGB."""


@dataclass(frozen=True)
class Paint:
    """The sRGB colours of F faces in 0..1: at their corners, or in a picture, whose rows run from the top."""

    colors: Float[np.ndarray, "F 3 3"]
    uv: Float[np.ndarray, "F 3 2"]
    """From the bottom, and the picture repeats; zero where there is none."""
    picture: Float[np.ndarray, "S S 3"] | None = None


class PaintedScene:
    """A mesh with its own colours before a background; drawn by `renderers.painted`."""

    surface_fields: frozenset[str] = frozenset()

    def __init__(
        self,
        vertices: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        paints: list[Paint],
        background: Background,
        device: torch.device,
    ):
        """`paints` have the faces' colours, one after the other; the vertices are in the scene's frame."""
        self.background, self.vertices, self.faces, self.paints = background, vertices, faces, paints
        self._surface = Surface.of(torch.tensor(vertices, device=device), torch.tensor(faces, device=device))
        self._colors, self._uv = (
            torch.tensor(np.concatenate([getattr(paint, name) for paint in paints]), dtype=torch.float32, device=device)
            for name in ("colors", "uv")
        )
        self._part = torch.arange(len(paints)).repeat_interleave(torch.tensor([len(p.uv) for p in paints])).to(device)
        pictures = {i: paint.picture for i, paint in enumerate(paints) if paint.picture is not None}
        self._pictures = {i: torch.tensor(p, dtype=torch.float32, device=device) for i, p in pictures.items()}

    @staticmethod
    def of(mesh: Mesh, background: Background, device: torch.device) -> "PaintedScene":
        """Returns a mesh as its files hold it: with its texture where it has one."""
        corners, texture = mesh.faces.shape, mesh.texture
        if texture is None:
            paint = Paint(mesh.colors[mesh.faces], np.zeros((*corners, 2), np.float32))
        else:
            paint = Paint(np.ones((*corners, 3), np.float32), texture.uv[texture.corners], texture.base_color)
        return PaintedScene(mesh.vertices, mesh.faces, [paint], background, device)

    def surface(self, training: bool = True) -> Surface:
        """Returns the mesh, without gradients."""
        return self._surface

    def seen(self, fragments: Fragments) -> Float[Tensor, "N 3"]:
        """Looks up the colours of the covered pixels."""
        face, share = fragments.face.flatten()[fragments.pixel], fragments.barycentric[..., None]
        return self._painted(face, share)

    def _painted(self, face: Int[Tensor, "N"], share: Float[Tensor, "N 3 1"]) -> Float[Tensor, "N 3"]:
        color, uv = (share * self._colors[face]).sum(1), (share * self._uv[face]).sum(1)
        for i, picture in self._pictures.items():
            here = self._part[face] == i
            color[here] = texels(picture, uv[here])
        return color

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Returns the colours of the nearest vertices."""
        nearest = cKDTree(self.vertices).query(x.detach().cpu().numpy())[1]
        return torch.from_numpy(self.colors[nearest]).to(x)

    @property
    def colors(self) -> Float[np.ndarray, "V 3"]:
        """The colours at the vertices: the means of what the faces around have, a little within each."""
        inside = torch.full((3, 3), 1 / 12).fill_diagonal_(5 / 6).to(self._uv)  # at a seam lies another's texture
        face = torch.arange(len(self.faces), device=self._uv.device).repeat_interleave(3)
        color = self._painted(face, inside.repeat(len(self.faces), 1)[..., None]).cpu()
        corner = torch.from_numpy(self.faces).flatten()
        summed = torch.zeros(len(self.vertices), 3).index_add(0, corner, color)
        return (summed / torch.bincount(corner, minlength=len(summed)).clamp(min=1)[:, None]).numpy()

    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Returns the mesh for export, whatever the settings: with its picture where it has one, for all faces."""
        texture, paint = None, self.paints[0]
        if len(self.paints) == 1 and paint.picture is not None:
            uv, corners = np.unique(paint.uv.reshape(-1, 2), axis=0, return_inverse=True)
            texture = Texture(uv, corners.reshape(-1, 3), paint.picture)
        return Mesh(self.vertices, self.faces, self.colors, texture)


def texels(picture: Float[Tensor, "S S 3"], uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
    """Interpolates a picture at N places, each in 0..1 from the left and from the bottom; beyond, it repeats."""
    place = torch.stack([2 * (uv[:, 0] % 1) - 1, 1 - 2 * (uv[:, 1] % 1)], dim=-1)
    found = F.grid_sample(picture.permute(2, 0, 1)[None], place[None, None], "bilinear", "border", align_corners=False)
    return found[0, :, 0].T


def read_painted(path: Path, up: str, background: Background, device: torch.device) -> PaintedScene:
    """Reads a mesh file in its colours, its box centred and as large as `HALF_DIAGONAL` says.

    `up` is the axis that is up where the file does not say it. Raises UserError for a bad file.
    """
    parts = loaded(path, lambda file: parts_of(trimesh.load_scene(file, process=False), file))
    body = placed(path, trimesh.util.concatenate([shape for shape, _ in parts]) if parts else None, up)
    scaled = body.vertices * (2 * HALF_DIAGONAL / np.linalg.norm(body.extents))
    vertices, shared = np.unique(scaled.astype(np.float32), axis=0, return_inverse=True)
    faces = shared.reshape(-1)[np.asarray(body.faces)]
    return PaintedScene(vertices, faces, [paint for _, paint in parts], background, device)


def parts_of(scene: trimesh.Scene, path: Path) -> list[tuple[trimesh.Trimesh, Paint]]:
    """Lists the shapes of a scene where they stand in it, each with its paint."""
    found = []
    for node in scene.graph.nodes_geometry:
        to_world, name = scene.graph[node]
        part = scene.geometry[name]
        if isinstance(part, trimesh.Trimesh) and len(part.faces):
            paint = paint_of(part, path.suffix.lower() in LINEAR)
            shape = trimesh.Trimesh(trimesh.transform_points(part.vertices, to_world), part.faces, process=False)
            found.append((shape, paint))
    return found


def paint_of(part: trimesh.Trimesh, linear: bool) -> Paint:
    """Reads the colours of a part's faces; `linear` where factors and colours at vertices are."""
    visual: Any = part.visual
    faces, uv = np.asarray(part.faces), np.zeros((len(part.faces), 3, 2), dtype=np.float32)
    if visual.kind == "texture":
        material, own = visual.material, visual.vertex_attributes.get("color")
        picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        tint = tint_of(material, linear)
        if picture is not None and visual.uv is not None:
            uv = np.asarray(visual.uv, dtype=np.float32)[faces]
            return Paint(np.ones((*faces.shape, 3), np.float32), uv, square(picture, tint))
        light = tint.expand(*faces.shape, 3) if own is None else tint * light_of(own, linear)[faces]
    elif visual.kind == "face":
        light = light_of(visual.face_colors, linear)[:, None].expand(*faces.shape, 3)
    elif visual.kind == "vertex":
        light = light_of(visual.vertex_colors, linear)[faces]
    else:
        light = linear_from_srgb(torch.full((*faces.shape, 3), GREY))
    return Paint(srgb_from_linear(light).float().numpy(), uv)


def tint_of(material: Any, linear: bool) -> Float[Tensor, "3"]:
    """Returns a material's own colour in linear light: a factor of its picture and of its colours in glTF alone."""
    if isinstance(material, PBRMaterial):
        return torch.ones(3) if material.baseColorFactor is None else light_of(material.baseColorFactor, linear)
    return torch.ones(3) if material.image is not None else light_of(material.main_color, linear)


def light_of(color: Any, linear: bool) -> Float[Tensor, "*N 3"]:
    """Converts a file's colours `[..., 3 or 4]`, whole numbers or 0..1, to linear light."""
    own = np.asarray(color)[..., :3]
    light = torch.from_numpy(own / (np.iinfo(own.dtype).max if own.dtype.kind == "u" else 1.0)).float()
    return light if linear else linear_from_srgb(light)


def square(picture: Image.Image, tint: Float[Tensor, "3"]) -> Float[np.ndarray, "S S 3"]:
    """Returns a picture's sRGB colours, tinted in linear light, at most `LARGEST` a side."""
    size = min(max(picture.size), LARGEST)
    pixels = torch.from_numpy(np.array(picture.convert("RGB").resize((size, size)))) / 255
    return srgb_from_linear(linear_from_srgb(pixels) * tint).numpy()
