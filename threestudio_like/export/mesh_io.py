"""Meshes as files that other tools open: GLB, OBJ and PLY, y up and front +z as in glTF."""

import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from threestudio_like.errors import NoSurfaceError, UserError, nearest
from threestudio_like.scenes.mesh import Mesh, Texture
from threestudio_like.utils.color import linear_from_srgb
from threestudio_like.utils.files import write_atomically, write_text

log = logging.getLogger(__name__)
FORMATS = ("glb", "obj", "ply")
BY = "threestudio_like"
"""The first line of an OBJ, as a comment."""
FILES = (*(f"mesh.{name}" for name in (*FORMATS, "mtl", "png")), "mesh_roughness.png", "mesh_metallic.png")
"""All that an export may consist of."""
COLOR = "_COLOR"
"""The name of a custom attribute, under which trimesh writes single precision."""


def check_formats(formats) -> None:
    """Raises UserError for a format that is not written."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: cannot write '{name}'{nearest(name, FORMATS)}")


def write_meshes(mesh: Mesh, folder: Path, formats: Iterable[str], name: str) -> None:
    """Writes `mesh.<format>` in each format; what an earlier export left does not stay beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in FILES:
        (folder / earlier).unlink(missing_ok=True)
    for suffix in formats:
        write_mesh(mesh, folder / f"mesh.{suffix}", name)


def no_mesh(folder: Path, error: NoSurfaceError) -> None:
    """Logs that there is no mesh. Raises NoSurfaceError where an earlier one would stand beside the figures of none."""
    earlier = next((folder / name for name in FILES if (folder / name).exists()), None)
    if earlier is not None:
        raise NoSurfaceError(f"no mesh was written: {error}; {earlier} is left as it was") from None
    log.warning("no mesh was written: %s", error)


def write_mesh(mesh: Mesh, path: str | Path, name: str = "") -> None:
    """Writes a mesh atomically, in the format of the path's suffix; `name` is the object's in formats that have names.

    Its texture goes with it where it has one (not in PLY), else colours at vertices: linear in GLB, as glTF says, and
    sRGB elsewhere. Where the texture has seams only GLB parts the vertices, as that format must.
    """
    path = Path(path)
    body = in_gltf_frame(mesh)
    name = " ".join(name.split()) or path.stem
    if mesh.texture is not None and path.suffix == ".obj":
        write_textured_obj(body, mesh.texture, path, name)
        return
    options: dict[str, Any] = {}
    if path.suffix == ".glb":
        options = {"tree_postprocessor": functools.partial(finish_gltf, name=name)}
    if path.suffix == ".obj":
        options = {"header": f"{BY}\no {name}"}
    if path.suffix != ".glb":
        rgba = np.concatenate([mesh.colors, np.ones((len(mesh.colors), 1))], axis=1)
        body.visual = ColorVisuals(body, vertex_colors=to_bytes(rgba))
    elif mesh.texture is not None:
        body = parted(body, mesh.texture)
    else:
        linear = linear_from_srgb(torch.as_tensor(mesh.colors)).clamp(0, 1).float()
        body.vertex_attributes[COLOR] = linear.numpy()  # trimesh's own colours are bytes, too few for dark linear light
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


def finish_gltf(tree: dict, name: str) -> None:
    """Names a glTF tree's object and colours, and gives what has no material one: without it is bare metal."""
    if "materials" not in tree:
        tree["materials"] = [{"name": "matte", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for part in (*tree["meshes"], *tree["nodes"]):
        part["name"] = name
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive.setdefault("material", 0)
            if COLOR in primitive["attributes"]:
                primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop(COLOR)


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


def write_textured_obj(body: trimesh.Trimesh, texture: Texture, path: Path, name: str) -> None:
    """Writes `mesh.obj`, whose vertices the faces share also at seams, `mesh.mtl`, and the pictures that it names.

    These are the base colour, `mesh.png`, and, where they are known, `mesh_roughness.png` and `mesh_metallic.png`.
    """
    material = ["newmtl material", "Kd 1 1 1", f"map_Kd {path.stem}.png"]
    save_picture(texture.base_color, path.with_suffix(".png"))
    if texture.rough_metal is None:
        material += ["Pr 1", "Pm 0"]
    else:
        for channel, (key, kind) in enumerate((("Pr", "roughness"), ("Pm", "metallic"))):
            picture = path.with_name(f"{path.stem}_{kind}.png")
            save_picture(texture.rough_metal[..., channel], picture)
            material += [f"{key} 1", f"map_{key} {picture.name}"]
    write_text(path.with_suffix(".mtl"), "\n".join(material) + "\n")
    corners = np.stack([body.faces, texture.corners, body.faces], axis=-1) + 1  # position, texture, normal
    lines = [
        f"mtllib {path.stem}.mtl",
        f"o {name}",
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
