"""Draws mesh files in Blender as it opens them: without light, in their own colours, from around.

    PYTHON benchmarks/blender_views.py FILE ... --out FOLDER [--views 0 90 180 270] [--size 160]

PYTHON has the package `bpy`; nothing of this project is imported. Each object is moved and scaled, but never turned,
so that its box has the middle and the longest side of the first file's. Writes `<suffix>-<azimuth>.png` with
transparent surroundings, and `<suffix>.json`: the size in Blender's units, whether it is closed, and the names.
"""

import argparse
import json
import math
from pathlib import Path

import bpy
from mathutils import Matrix, Vector

ELEVATION, FIELD_OF_VIEW, DISTANCE = math.radians(15), math.radians(41), 2.7


def open_file(path: Path):
    """Opens a file with the importer's own defaults, and joins its meshes. PLY names no axes, so they are told."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    {
        ".glb": lambda name: bpy.ops.import_scene.gltf(filepath=name),
        ".obj": lambda name: bpy.ops.wm.obj_import(filepath=name),
        ".ply": lambda name: bpy.ops.wm.ply_import(filepath=name, forward_axis="NEGATIVE_Z", up_axis="Y"),
        ".stl": lambda name: bpy.ops.wm.stl_import(filepath=name),
        ".usdz": lambda name: bpy.ops.wm.usd_import(filepath=name),
    }[path.suffix](str(path))
    bpy.context.view_layer.update()
    (body,) = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
    return body


def box(body) -> tuple[Vector, Vector]:
    """Returns the corners of the box around a mesh, in the world."""
    points = [body.matrix_world @ vertex.co for vertex in body.data.vertices]
    return tuple(Vector([pick(point[axis] for point in points) for axis in range(3)]) for pick in (min, max))


def is_closed(body) -> bool:
    """Tells whether every edge has two faces, once the vertices at the seams are one again."""
    places, edges = {}, {}
    for polygon in body.data.polygons:
        at = [places.setdefault(tuple(body.data.vertices[i].co), len(places)) for i in polygon.vertices]
        for pair in zip(at, at[1:] + at[:1], strict=True):
            edges[frozenset(pair)] = edges.get(frozenset(pair), 0) + 1
    return set(edges.values()) == {2}


def shine(body) -> None:
    """Replaces the light on each material by its base colour alone; the colours of vertices where it has none."""
    if not body.data.materials:
        body.data.materials.append(bpy.data.materials.new("plain"))
    for material in body.data.materials:
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
        linked = shader is not None and shader.inputs["Base Color"].is_linked
        glow = nodes.new("ShaderNodeEmission")
        if linked:
            links.new(shader.inputs["Base Color"].links[0].from_socket, glow.inputs["Color"])
        elif len(body.data.color_attributes):
            colors = nodes.new("ShaderNodeVertexColor")
            colors.layer_name = body.data.color_attributes[0].name
            links.new(colors.outputs["Color"], glow.inputs["Color"])
        else:
            links.new(clay(nodes, links), glow.inputs["Color"])
        output = next((node for node in nodes if node.type == "OUTPUT_MATERIAL"), None)
        output = output or nodes.new("ShaderNodeOutputMaterial")
        links.new(glow.outputs["Emission"], output.inputs["Surface"])


def clay(nodes, links):
    """Shades a shape without colours as the turntable's lower row is: under the light that `draw` places, 0.4..1."""
    place, light = nodes.new("ShaderNodeNewGeometry"), nodes.new("ShaderNodeVectorMath")
    light.name, light.operation = "light", "SUBTRACT"
    towards, facing = nodes.new("ShaderNodeVectorMath"), nodes.new("ShaderNodeVectorMath")
    towards.operation, facing.operation = "NORMALIZE", "DOT_PRODUCT"
    links.new(place.outputs["Position"], light.inputs[1])
    links.new(light.outputs["Vector"], towards.inputs[0])
    links.new(towards.outputs["Vector"], facing.inputs[0])
    links.new(place.outputs["Normal"], facing.inputs[1])
    lit, shade, linear = nodes.new("ShaderNodeClamp"), nodes.new("ShaderNodeMath"), nodes.new("ShaderNodeGamma")
    links.new(facing.outputs["Value"], lit.inputs["Value"])
    shade.operation, shade.inputs[1].default_value, shade.inputs[2].default_value = "MULTIPLY_ADD", 0.6, 0.4
    links.new(lit.outputs["Result"], shade.inputs[0])
    links.new(shade.outputs["Value"], linear.inputs["Color"])
    linear.inputs["Gamma"].default_value = 2.2
    return linear.outputs["Color"]


def draw(azimuth_deg: float, size: int, path: Path) -> None:
    """Draws the scene from an azimuth, as the turntable is drawn; its front is -y, and its left +x."""
    azimuth, scene = math.radians(azimuth_deg), bpy.context.scene
    towards = Vector((math.sin(azimuth), -math.cos(azimuth), math.tan(ELEVATION))).normalized()
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.angle = FIELD_OF_VIEW
    turn = towards.to_track_quat("Z", "Y")
    camera.location, camera.rotation_euler = DISTANCE * towards, turn.to_euler()
    light = DISTANCE * (towards + turn @ Vector((-0.3, 0.6, 0)))
    for material in bpy.data.materials:
        if "light" in material.node_tree.nodes:
            material.node_tree.nodes["light"].inputs[0].default_value = light
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 16, False
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", nargs="+", type=float, default=[0, 90, 180, 270], help="azimuths in degrees")
    parser.add_argument("--size", type=int, default=160, help="pixels a side")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    first = None
    for file in args.files:
        body = open_file(file)
        low, high = box(body)
        first = first or ((low + high) / 2, max(high - low))
        said = {
            "size": list(high - low),
            "floor": low.z,
            "closed": is_closed(body),
            "faces": len(body.data.polygons),
            "names": [body.name, body.data.name, *(holder.name for holder in [body.parent] if holder)],
        }
        kind = file.suffix[1:]
        (args.out / f"{kind}.json").write_text(json.dumps(said, indent=2))
        middle, side = first
        moved = Matrix.Scale(side / max(high - low), 4) @ Matrix.Translation(-(low + high) / 2) @ body.matrix_world
        body.parent = None
        body.matrix_world = Matrix.Translation(middle) @ moved
        shine(body)
        for azimuth in args.views:
            draw(azimuth, args.size, args.out / f"{kind}-{azimuth:.0f}.png")


if __name__ == "__main__":
    main()
