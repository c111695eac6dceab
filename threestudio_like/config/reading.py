"""Reads YAML as plain data, and refuses what it would read as something else than was meant."""

import copy
import functools
import io
import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threestudio_like.errors import UserError, brief
from threestudio_like.utils.files import regular

MISREAD = re.compile(r"[-+]?(0[0-7_]+|[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Octal and sexagesimal numbers, which YAML 1.1 reads in what looks decimal, or a time."""
UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, RecursionError, ValueError)


def read_yaml(path: Path) -> dict:
    """Reads a YAML file's map, not interpolated. Raises UserError where it cannot be read as one."""
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path}: cannot be read as a text; save it as UTF-8")
    return copy.deepcopy(parsed(text, str(path)))


@functools.lru_cache(maxsize=128)  # comparisons read the same recipes for each of their runs
def parsed(text: str, where: str) -> dict:
    """Parses a map in YAML. Raises UserError."""
    try:
        refuse_misread(text, where)
        node = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except RecursionError:
        raise UserError(f"{where}: its keys are nested too deep") from None
    except UNREADABLE as error:
        raise UserError(f"{where}: cannot be read as YAML: {brief(error)}") from None
    if not isinstance(node, dict):
        raise UserError(f"{where}: a recipe is a map of keys, this file holds {type(node).__name__}")
    return node


def read_value(key: str, text: str) -> Any:
    """Reads the value of `key=text`, not interpolated. Raises UserError."""
    try:
        refuse_misread(text, key)
        node: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
    except RecursionError:
        raise UserError(f"{key}: the value is nested too deep") from None
    except UNREADABLE:
        raise UserError(f"'{key}={text}': the value cannot be read as YAML") from None
    return node["value"]


def refuse_misread(text: str, where: str) -> None:
    """Raises UserError for a number such as 010 or 1:30, which YAML reads as 8 and 90."""
    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken) and token.plain and MISREAD.fullmatch(token.value):
            raise UserError(
                f"{where}: '{token.value}' would be read as {yaml.safe_load(token.value)}; write the number in decimal "
                "without a leading zero, or quote the text"
            )
