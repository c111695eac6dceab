"""Writes OBJ, with its material and the pictures of its texture beside it."""

from pathlib import Path

import numpy as np

from threestudio_like.export.frames import in_gltf_frame
from threestudio_like.export.origin import Origin, one_line
from threestudio_like.export.pictures import save_picture
from threestudio_like.scenes.mesh import Mesh, Texture
from threestudio_like.utils.files import write_text


def write_obj(mesh: Mesh, path: Path, origin: Origin) -> None:
    """Writes a mesh whose vertices the faces share also at seams; without a texture, with sRGB colours at vertices."""
    body, name = in_gltf_frame(mesh), origin.named(path.stem)
    known = [f"# {key}: {one_line(value)}" for key, value in origin.known().items()]
    normals = [f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in body.vertex_normals]
    if mesh.texture is None:
        head, layout = [f"o {name}"], "{0}//{0}"  # position, normal
        colored = np.concatenate([body.vertices, mesh.colors.clip(0, 1)], axis=1)
        points = [f"v {x:.6f} {y:.6f} {z:.6f} {r:.4f} {g:.4f} {b:.4f}" for x, y, z, r, g, b in colored]
        corners = [mesh.faces]
    else:
        write_material(mesh.texture, path)
        head, layout = [f"mtllib {path.stem}.mtl", f"o {name}", "usemtl material"], "{0}/{1}/{0}"
        points = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in body.vertices]
        points += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.texture.uv]
        corners = [mesh.faces, mesh.texture.corners]
    rows = (np.stack(corners, axis=-1) + 1).tolist()  # counted from one
    faces = ["f " + " ".join(layout.format(*corner) for corner in face) for face in rows]
    write_text(path, "\n".join(["# threestudio_like", *known, *head, *points, *normals, *faces]) + "\n")


def write_material(texture: Texture, path: Path) -> None:
    """Writes `mesh.mtl`, and the pictures that it names.

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
