"""Readers of exported meshes that know nothing of ours."""

import json

import trimesh


def gltf_tree(path) -> dict:
    """The JSON part of a GLB file."""
    content = path.read_bytes()
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


def only_part(path) -> trimesh.Trimesh:
    """The file's mesh with the normals that are in it."""
    (part,) = trimesh.load_scene(path, process=False).geometry.values()
    return part
