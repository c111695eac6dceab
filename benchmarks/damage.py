"""Damages files as disks, networks and ill will do: bytes, what a file holds, and what stands in its place."""

import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import odd
from benchmarks.mutations import Case, misspelt, moved, removed, wrapped, wrong_value

INSIDE = (wrong_value, wrong_value, wrong_value, wrapped, misspelt, removed, moved)
"""Mistakes that what a file holds can have as a recipe can."""
ODD_NUMBERS = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "4294967295",
    "-2147483649",
    "x",
    "",
    "1/0",
    "0.5",
)
MARK = "escaped"
"""The file that hostile code would make."""


class Hostile:
    """An object that runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.system, (f"touch {MARK}",)


def in_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cuts, flips, empties, doubles or replaces bytes."""
    cut = rng.randrange(len(data) + 1)
    end = min(cut + rng.choice((1, 4, 64, 4096)), len(data))
    flipped = bytearray(data)
    for _ in range(rng.choice((1, 1, 8, 64))):
        place = rng.randrange(8 * len(data)) if data else 0
        flipped[place // 8 : place // 8 + 1] = bytes(
            byte ^ 1 << place % 8 for byte in flipped[place // 8 : place // 8 + 1]
        )
    noise = rng.randbytes(end - cut)
    return rng.choice(
        [
            *(data[:cut], data[: len(data) - 1], b"", bytes(flipped), bytes(flipped), data[:cut] + noise + data[end:]),
            *(data[:cut] + bytes(end - cut) + data[end:], data[:cut] + data[end:], data + noise, data + data),
            *(
                bytes(len(data)),
                rng.randbytes(len(data)),
                b"<!DOCTYPE html><html>404</html>",
                b"\x89PNG\r\n\x1a\n" + data,
            ),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        ]
    )


def in_tree(rng: random.Random, tree: Any) -> Any:
    """Makes a user's mistake, at times two, in plain data."""
    case = Case({"whole": tree})
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(INSIDE)(rng, case)
    return case.tree.get("whole")


def in_words(rng: random.Random, data: bytes) -> bytes:
    """Replaces a number of a text by an odd one, or takes a line away or doubles it."""
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", lines[i]))
    if numbers and rng.random() < 0.8:
        chosen = rng.choice(numbers)
        lines[i] = lines[i][: chosen.start()] + rng.choice(ODD_NUMBERS).encode() + lines[i][chosen.end() :]
    else:
        lines[i : i + 1] = rng.choice([[], [lines[i]] * 2, [lines[i] + b" 1"], [b"\xff\xfe"], [b" " + lines[i][::-1]]])
    return b"\n".join(lines)


def in_json(rng: random.Random, data: bytes) -> bytes:
    """Makes a mistake in what a JSON file holds."""
    return rng.choice(
        [json.dumps(in_tree(rng, json.loads(data)), default=str, skipkeys=True), "[" * 5000, "null"]
    ).encode()


def in_yaml(rng: random.Random, data: bytes) -> bytes:
    """Makes a mistake in what a YAML file holds."""
    written = yaml.safe_dump(in_tree(rng, yaml.safe_load(data)), sort_keys=False, allow_unicode=True)
    return written.encode(errors="surrogatepass")


def in_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Makes a mistake in the header of a safetensors file, or in that header's length."""
    (length,) = struct.unpack("<Q", data[:8])
    header = in_json(rng, data[8 : 8 + length])
    stated = rng.choice([len(header)] * 6 + [0, 2**63, len(header) - 1, len(data)])
    return struct.pack("<Q", stated) + header + data[8 + length :]


def in_glb(rng: random.Random, data: bytes) -> bytes:
    """Makes a mistake in the JSON of a binary glTF file, or in its lengths."""
    (length,) = struct.unpack("<I", data[12:16])
    tree = in_json(rng, data[20 : 20 + length])
    tree += b" " * (-len(tree) % 4)
    stated = rng.choice([len(tree)] * 6 + [0, 2**32 - 1])
    rest = data[20 + length :]
    return data[:8] + struct.pack("<II", 20 + len(tree) + len(rest), stated) + data[16:20] + tree + rest


def in_checkpoint(rng: random.Random, data: bytes) -> bytes:
    """Makes a mistake in what a checkpoint holds, or puts hostile code or a bomb in its place."""
    tree, written = torch.load(io.BytesIO(data), weights_only=True), io.BytesIO()
    what = rng.randrange(12)
    if what == 0:
        return pickle.dumps(Hostile())
    if what == 1:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as parts:
            parts.writestr("main/data.pkl", bytes(64 << 20))
        return written.getvalue()
    if what == 2:
        tree["system"] = {"images": Hostile()}
    elif what == 3:
        name = rng.choice(list(tree["system"]))
        tensor = tree["system"][name]
        tree["system"][name] = rng.choice(
            [
                tensor[:1],
                tensor.double(),
                tensor.int(),
                tensor * float("nan"),
                tensor.to_sparse(),
                tensor[None],
                tensor.tolist(),
            ]
        )
    else:
        tree = in_tree(rng, tree)
    torch.save(tree, written)
    return written.getvalue()


HOLDING = {".json": in_json, ".gltf": in_json, ".yaml": in_yaml, ".safetensors": in_safetensors, ".glb": in_glb} | {
    ".pt": in_checkpoint,
    **dict.fromkeys((".obj", ".ply", ".stl", ".off", ".txt"), in_words),
}
"""Functions that damage the inside of a file, by its suffix."""


def replace(rng: random.Random, path: Path) -> None:
    """Puts something that is no such file in its place."""
    path.unlink()
    what = rng.randrange(5)
    if what == 0:
        path.mkdir()
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to(path.name)
    elif what == 3:
        path.symlink_to("/dev/null")


def damage(rng: random.Random, path: Path) -> None:
    """Damages a file."""
    inside = HOLDING.get(path.suffix)
    if rng.random() < 0.06:
        replace(rng, path)
    elif inside is not None and rng.random() < 0.65:
        path.write_bytes(inside(rng, path.read_bytes()))
    else:
        path.write_bytes(in_bytes(rng, path.read_bytes()))


def name(rng: random.Random) -> str:
    """Draws a text that is given for the name of a model, a folder or a file."""
    names = (
        "a/b",
        "a/b/c",
        "../..",
        "./x",
        "-/-",
        "a//b",
        "https://huggingface.co/a/b",
        "a/b@main",
        "a/b:c",
        "A" * 300 + "/b",
    )
    more = (
        "~root/x",
        "\\\\host\\x",
        "C:\\x",
        "a/b\n",
        "a/..",
        "datasets/a/b",
        "a/" + "b" * 100,
        "/dev/null",
        "/proc/self",
        "a b/c",
    )
    return rng.choice((*names, *more, *(word for word in odd.WORDS if "$" not in word)))
