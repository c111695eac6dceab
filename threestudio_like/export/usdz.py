"""Writes USDZ, which Apple's systems show in space: a layer of USD as text and its pictures, in a zip file.

Our own writer: the format is a page of text in a zip without compression, and USD's library takes 150 MB. The tests
read the files with that library.
"""

import json
import re
import struct
import zipfile
from pathlib import Path

import numpy as np

from threestudio_like.export.frames import in_gltf_frame, longest_side, on_the_floor
from threestudio_like.export.origin import Origin, one_line
from threestudio_like.export.pictures import packed, picture, png
from threestudio_like.export.texture import bake_colors
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.files import write_atomically

ALIGNMENT = 64
"""Each file in the zip begins at a multiple of so many bytes."""
PADDING = 0x1986
"""The id of the extra field that fills the gaps."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of all files in the zip, so that one mesh gives one file."""
COLORS_SIZE = 512
"""Side length in texels where a mesh has colours at its vertices only, which Apple's readers do not show."""

LAYER = """#usda 1.0
(
    customLayerData = {{
        string creator = "threestudio_like"{known}
    }}
    defaultPrim = "{root}"
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "{root}" (
    displayName = {name}
    kind = "component"
)
{{
    def Mesh "{root}" (
        prepend apiSchemas = ["MaterialBindingAPI"]
    )
    {{
        uniform token subdivisionScheme = "none"
        float3[] extent = [{extent}]
        int[] faceVertexCounts = [{counts}]
        int[] faceVertexIndices = [{faces}]
        point3f[] points = [{points}]
        normal3f[] normals = [{normals}] (
            interpolation = "vertex"
        )
        texCoord2f[] primvars:st = [{uv}] (
            interpolation = "faceVarying"
        )
        int[] primvars:st:indices = [{corners}]
        rel material:binding = </{root}/_material>
    }}

    def Material "_material"
    {{
        token outputs:surface.connect = </{root}/_material/surface.outputs:surface>

        def Shader "surface"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </{root}/_material/base_color.outputs:rgb>
            {roughness}
            {metallic}
            token outputs:surface
        }}

        def Shader "place"
        {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }}
{textures}    }}
}}
"""

TEXTURE = """
        def Shader "{name}"
        {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @textures/{name}.png@
            token inputs:sourceColorSpace = "{space}"
            float2 inputs:st.connect = </{root}/_material/place.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
            {outputs}
        }}
"""


def write_usdz(mesh: Mesh, path: Path, origin: Origin, size_mm: float) -> None:
    """Writes a mesh with its texture: y up, front +z, in metres, its longest side `size_mm` long, on the floor.

    Colours at vertices become a texture.
    """
    mesh = mesh if mesh.texture is not None else bake_colors(mesh, COLORS_SIZE)
    assert mesh.texture is not None
    files = {"textures/base_color.png": png(picture(mesh.texture.base_color))}
    rough_metal = packed(mesh.texture)
    if rough_metal is not None:
        files["textures/rough_metal.png"] = png(rough_metal)
    files = {f"{path.stem}.usda": layer(mesh, origin, path.stem, size_mm).encode()} | files  # the layer comes first
    write_atomically(path, lambda unfinished: write_aligned(unfinished, files))


def layer(mesh: Mesh, origin: Origin, stem: str, size_mm: float) -> str:
    """Returns the mesh and its material as a layer of USD."""
    body, texture = in_gltf_frame(mesh), mesh.texture
    assert texture is not None
    points = on_the_floor(np.asarray(body.vertices), up=1) * size_mm / 1000 / longest_side(body.vertices)
    name = origin.named(stem)
    root = identifier(name)
    known = "".join(
        f"\n        {'int' if isinstance(value, int) else 'string'} {key} = {quoted(value)}"
        for key, value in origin.known().items()
    )
    pbr = texture.rough_metal is not None
    reads = f".connect = </{root}/_material/rough_metal.outputs:"
    textures = TEXTURE.format(root=root, name="base_color", space="sRGB", outputs="float3 outputs:rgb")
    if pbr:
        outputs = "float outputs:g\n            float outputs:b"
        textures += TEXTURE.format(root=root, name="rough_metal", space="raw", outputs=outputs)
    return LAYER.format(
        known=known,
        root=root,
        name=quoted(name),
        extent=tuples(np.stack([points.min(0), points.max(0)])),
        counts=", ".join(["3"] * len(body.faces)),
        faces=", ".join(map(str, body.faces.flatten())),
        points=tuples(points),
        normals=tuples(body.vertex_normals),
        uv=tuples(texture.uv),
        corners=", ".join(map(str, texture.corners.flatten())),
        roughness=f"float inputs:roughness{reads}g>" if pbr else "float inputs:roughness = 1",
        metallic=f"float inputs:metallic{reads}b>" if pbr else "float inputs:metallic = 0",
        textures=textures,
    )


def identifier(name: str) -> str:
    """Returns a name as USD has it for objects: letters, digits and underscores, not a digit first."""
    words = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return words if words[:1].isalpha() else f"object_{words}".rstrip("_")


def quoted(value: str | int) -> str:
    """Returns a value as USD writes it; text in quotes, in one line."""
    return str(value) if isinstance(value, int) else json.dumps(one_line(value), ensure_ascii=False)


def tuples(rows: np.ndarray) -> str:
    """Returns rows of numbers as USD writes them."""
    form = f"({', '.join(['%.6g'] * rows.shape[1])})"
    return ", ".join(form % tuple(row) for row in rows.tolist())


def write_aligned(path: Path, files: dict[str, bytes]) -> None:
    """Writes a zip without compression, whose files begin at multiples of 64 bytes, as USDZ demands."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            assert archive.fp is not None
            header = 4  # of the extra field
            begins = archive.fp.tell() + 30 + len(name.encode()) + header
            fill = -begins % ALIGNMENT
            info.extra = struct.pack("<HH", PADDING, fill) + bytes(fill)
            archive.writestr(info, content)
