"""Folders of made-up runs with turntables and meshes, written without running anything."""

import json
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import trimesh
from omegaconf import OmegaConf
from PIL import Image

from tests.fabricated import REVISION
from threestudio_like.config.loading import to_the_letter
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.scenes.mesh import Mesh


def strip(color, views: int = 8, side: int = 16) -> np.ndarray:
    """A turntable's picture: view k is the colour, with a bright column k; the bare shape below is grey."""
    picture = np.full((2 * side, views, side, 3), 128, np.uint8)
    picture[:side] = color
    for k in range(views):
        picture[:side, k, k % side] = 255
    return picture.reshape(2 * side, views * side, 3)


def write_video(path: Path, levels, side: int = 32) -> None:
    """A video of grey frames of these levels, in the format of the path's suffix."""
    if path.suffix != ".mp4":
        frames = [Image.new("RGB", (side, side), (level,) * 3) for level in levels]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        return
    with av.open(path, "w") as video:
        stream = video.add_stream("libx264", rate=20)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), level, np.uint8), format="rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())


def ball(subdivisions: int = 3, color=(0.8, 0.2, 0.1)) -> Mesh:
    """A ball that is longer towards its front, +x."""
    body = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.6)
    vertices = np.asarray(body.vertices, np.float32) * [1.3, 1, 1]
    return Mesh(vertices.astype(np.float32), np.asarray(body.faces), np.full((len(vertices), 3), color, np.float32))


def finish(
    folder: Path,
    prompt: str = "a red chair",
    recipe: str = "dreamfusion",
    seed: int = 0,
    color=(200, 40, 40),
    mesh: Mesh | None = None,
    **figures: object,
) -> Path:
    """A run that is done, unless its figures say another `status`; returns its folder."""
    folder.mkdir(parents=True)
    plain = {"system": "dreamfusion", "prompt": to_the_letter(prompt), "seed": seed, "git_revision": REVISION}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain)), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps({"status": "done", "recipe": recipe} | figures), encoding="utf-8")
    iio.imwrite(folder / "turntable.png", strip(color))
    if mesh is not None:
        write_mesh(mesh, folder / "mesh.glb")
    return folder
