"""Meshes as files that other tools open: GLB, OBJ and PLY, y up and front +z as in glTF."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from threestudio_like.errors import UserError, nearest
from threestudio_like.scenes.mesh import Mesh, Texture
from threestudio_like.utils.color import linear_from_srgb
from threestudio_like.utils.files import write_atomically, write_text

FORMATS = ("glb", "obj", "ply")


def check_formats(formats) -> None:
    """Raises UserError for a format that is not written."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: cannot write '{name}'{nearest(name, FORMATS)}")


def write_mesh(mesh: Mesh, path: str | Path) -> None:
    """Writes a mesh atomically, in the format of the path's suffix.

    Its texture goes with it where it has one (not in PLY), else colours at vertices: linear in GLB, as glTF says, and
    sRGB elsewhere. Where the texture has seams only GLB parts the vertices, as that format must.
    """
    path = Path(path)
    body = in_gltf_frame(mesh)
    if mesh.texture is not None and path.suffix == ".obj":
        write_textured_obj(body, mesh.texture, path)
        return
    options: dict[str, Any] = {}
    if mesh.texture is not None and path.suffix == ".glb":
        body = parted(body, mesh.texture)
    else:
        colors = linear_from_srgb(torch.as_tensor(mesh.colors)).numpy() if path.suffix == ".glb" else mesh.colors
        rgba = np.concatenate([colors, np.ones((len(colors), 1))], axis=1)
        body.visual = ColorVisuals(body, vertex_colors=to_bytes(rgba))
        options = {"tree_postprocessor": matte} if path.suffix == ".glb" else {}
    _ = body.vertex_normals  # trimesh writes normals only where they have been computed
    write_atomically(path, lambda unfinished: body.export(unfinished, file_type=path.suffix[1:], **options))


def in_gltf_frame(mesh: Mesh) -> trimesh.Trimesh:
    """Returns the shape with y up and front +z."""
    y_up = [1, 2, 0]
    normals = None if mesh.normals is None else mesh.normals[:, y_up]
    return trimesh.Trimesh(mesh.vertices[:, y_up], mesh.faces, vertex_normals=normals, process=False)


def parted(body: trimesh.Trimesh, texture: Texture) -> trimesh.Trimesh:
    """Returns the body with one vertex for each texture coordinate, smooth across the seams, and its texture."""
    source = np.zeros(len(texture.uv), np.int64)
    source[texture.corners] = body.faces
    normals = body.vertex_normals[source]
    parts = trimesh.Trimesh(body.vertices[source], texture.corners, vertex_normals=normals, process=False)
    parts.visual = textured(texture)
    return parts


def matte(tree: dict) -> None:
    """Gives a glTF tree's meshes a material: those without one are bare metal, as the format says."""
    tree["materials"] = [{"name": "matte", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def textured(texture: Texture) -> TextureVisuals:
    """Packs a texture as glTF's metallic-roughness material: roughness in green, metallic in blue."""
    base = Image.fromarray(to_bytes(texture.base_color))
    if texture.rough_metal is None:
        material = PBRMaterial(name="material", baseColorTexture=base, metallicFactor=0.0, roughnessFactor=1.0)
    else:
        rough, metal = to_bytes(texture.rough_metal).transpose(2, 0, 1)
        packed = Image.fromarray(np.stack([np.full_like(rough, 255), rough, metal], axis=-1))
        material = PBRMaterial(
            name="material",
            baseColorTexture=base,
            metallicRoughnessTexture=packed,
            metallicFactor=1.0,
            roughnessFactor=1.0,
        )
    return TextureVisuals(uv=texture.uv, material=material)


def write_textured_obj(body: trimesh.Trimesh, texture: Texture, path: Path) -> None:
    """Writes `mesh.obj`, whose vertices the faces share also at seams, `mesh.mtl`, and the pictures that it names.

    These are the base colour, `mesh.png`, and, where they are known, `mesh_roughness.png` and `mesh_metallic.png`.
    """
    material = ["newmtl material", "Kd 1 1 1", f"map_Kd {path.stem}.png"]
    save_picture(texture.base_color, path.with_suffix(".png"))
    if texture.rough_metal is None:
        material += ["Pr 1", "Pm 0"]
    else:
        for channel, (key, name) in enumerate((("Pr", "roughness"), ("Pm", "metallic"))):
            picture = path.with_name(f"{path.stem}_{name}.png")
            save_picture(texture.rough_metal[..., channel], picture)
            material += [f"{key} 1", f"map_{key} {picture.name}"]
    write_text(path.with_suffix(".mtl"), "\n".join(material) + "\n")
    corners = np.stack([body.faces, texture.corners, body.faces], axis=-1) + 1  # position, texture, normal
    lines = [
        f"mtllib {path.stem}.mtl",
        "usemtl material",
        *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in body.vertices),
        *(f"vt {u:.6f} {v:.6f}" for u, v in texture.uv),
        *(f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in body.vertex_normals),
        *("f " + " ".join("/".join(map(str, corner)) for corner in face) for face in corners.tolist()),
    ]
    write_text(path, "\n".join(lines) + "\n")


def save_picture(values: np.ndarray, path: Path) -> None:
    """Writes values in 0..1 as a PNG."""
    write_atomically(path, lambda unfinished: Image.fromarray(to_bytes(values)).save(unfinished, "PNG"))


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Converts values in 0..1 to bytes."""
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
