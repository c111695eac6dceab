"""Readers of exported meshes that know nothing of ours."""

import json

import numpy as np
import trimesh


def gltf_tree(path) -> dict:
    """The JSON part of a GLB file."""
    content = path.read_bytes()
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


def only_part(path) -> trimesh.Trimesh:
    """The file's mesh with the normals that are in it."""
    (part,) = trimesh.load_scene(path, process=False).geometry.values()
    return part


def vertex_colors(path) -> np.ndarray:
    """The file's colours at vertices, linear, 0..1, `[V, 4]`; they are stored in 16 bits.

    trimesh keeps them whole beside a material; without one (`skip_materials`) it takes their lower halves.
    """
    colors = only_part(path).visual.vertex_attributes["color"]
    assert colors.dtype == np.uint16
    return np.asarray(colors) / 65535
