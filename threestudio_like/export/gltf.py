"""Writes GLB, the binary form of glTF 2.0, so that the Khronos validator has nothing to say."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt16
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from threestudio_like.export.frames import in_gltf_frame
from threestudio_like.export.origin import Origin
from threestudio_like.export.pictures import packed, picture
from threestudio_like.scenes.mesh import Mesh, Texture
from threestudio_like.utils.color import linear_from_srgb
from threestudio_like.utils.files import write_atomically

COLOR = "_COLOR"
"""The name of a custom attribute, which trimesh writes in the precision that it has."""
VERTEX_DATA, INDICES = 34962, 34963
"""What a view of the buffer is for, in glTF's numbers: ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER."""


def write_glb(mesh: Mesh, path: Path, origin: Origin) -> None:
    """Writes a mesh with its texture as a metallic-roughness material, or else with linear colours in 16 bits.

    The scene's extras say where it comes from. Where the texture has seams the vertices are parted.
    """
    body: Any = in_gltf_frame(mesh)
    if mesh.texture is not None:
        body = parted(body, mesh.texture)
    else:
        body.vertex_attributes[COLOR] = linear_colors(mesh.colors)  # trimesh's own colours are bytes
    body.update_faces(~collapsed(body.faces))
    normals = np.where(np.isfinite(body.vertex_normals), body.vertex_normals, 0)
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0, 1, 0)  # of vertices without area around them
    body.vertex_normals = normals
    finish = functools.partial(finish_gltf, origin=origin, name=origin.named(path.stem))
    write_atomically(
        path,
        lambda unfinished: body.export(unfinished, file_type="glb", tree_postprocessor=finish, include_normals=True),
    )


def linear_colors(colors: Float[np.ndarray, "V 3"]) -> UInt16[np.ndarray, "V 4"]:
    """Converts sRGB to linear light in 16 bits, opaque; bytes would be too few for what is dark."""
    linear = linear_from_srgb(torch.as_tensor(colors)).clamp(0, 1).double().numpy()
    opaque = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)  # four, so that rows end at 4 bytes
    return (opaque * 65535).round().astype(np.uint16)


def collapsed(faces: np.ndarray) -> np.ndarray:
    """Finds the faces with the same vertex twice; a surface that is closed is so without them."""
    return (faces == np.roll(faces, 1, axis=1)).any(axis=1)


def parted(body: trimesh.Trimesh, texture: Texture) -> trimesh.Trimesh:
    """Returns the body with one vertex for each texture coordinate, smooth across the seams, and its texture."""
    source = np.zeros(len(texture.uv), np.int64)
    source[texture.corners] = body.faces
    normals = body.vertex_normals[source]
    parts = trimesh.Trimesh(body.vertices[source], texture.corners, vertex_normals=normals, process=False)
    parts.visual = textured(texture)
    return parts


def textured(texture: Texture) -> TextureVisuals:
    """Packs a texture as glTF's metallic-roughness material: roughness in green, metallic in blue."""
    rough_metal = packed(texture)
    material = PBRMaterial(
        name="material",
        baseColorTexture=picture(texture.base_color),
        metallicRoughnessTexture=rough_metal,
        metallicFactor=0.0 if rough_metal is None else 1.0,
        roughnessFactor=1.0,
    )
    return TextureVisuals(uv=texture.uv, material=material)


def finish_gltf(tree: dict, origin: Origin, name: str) -> None:
    """Names a glTF tree's object and its origin, and says what trimesh leaves out.

    This is: what views of the buffer are for, that colours are shares of white, and a material for what has none, as
    without it is bare metal.
    """
    if "materials" not in tree:
        tree["materials"] = [{"name": "matte", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for part in (*tree["scenes"], *tree["meshes"], *tree["nodes"]):
        part["name"] = name
    for holder in (tree["asset"], *tree["scenes"]):  # tools keep the scene's and lose the asset's
        holder["extras"] = holder.get("extras", {}) | origin.known()
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive.setdefault("material", 0)
            attributes = primitive["attributes"]
            if COLOR in attributes:
                attributes["COLOR_0"] = attributes.pop(COLOR)
                tree["accessors"][attributes["COLOR_0"]]["normalized"] = True
            for accessor in attributes.values():
                view_of(tree, accessor)["target"] = VERTEX_DATA
            view_of(tree, primitive["indices"])["target"] = INDICES


def view_of(tree: dict, accessor: int) -> dict:
    """Returns the view of the buffer that an accessor reads."""
    return tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]
