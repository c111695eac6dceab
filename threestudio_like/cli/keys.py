"""Lists a recipe's keys for `--help`: type, value, and the string that stands under the field."""

import ast
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any

import annotated_types
import yaml

from threestudio_like.config import ranges
from threestudio_like.config.fields import (
    Class,
    Field,
    Module,
    alias_of,
    arguments,
    config_fields,
    default_type,
    fields_at,
    fields_of,
    is_block,
    look_up,
    parts,
    slot_of,
    values_of,
)
from threestudio_like.config.loading import overlay
from threestudio_like.config.registry import place_of, registered

RUN = "threestudio_like.config.run_config:RunConfig"
HIDDEN = ("stages", "vars")
"""Keys of the run that are blocks of other keys."""
MISSING = object()
WIDTH = 110


@dataclass(frozen=True)
class Key:
    """One line of the list."""

    path: str
    kind: str
    value: str
    about: str


def listing(plain: dict, comparison: str | None = None) -> str:
    """Describes the keys of a recipe, stage by stage; or those of a comparison, whose config is at "module:Class"."""
    if comparison is not None:
        return block("keys of the comparison", list(described(fields_at(comparison), plain, "")))
    run = fields_at(RUN)
    own = [key for key in described(run, plain, "") if key.path not in HIDDEN]
    text = [block("keys of the run", own)]
    shared = {key: value for key, value in plain.items() if key not in run}
    stages = plain.get("stages")
    for stage, keys in (stages or {"": {}}).items():
        node = overlay(shared, keys or {})
        system = node.pop("system", None)
        fields = config_fields(place_of("system", system)) if system in registered("system") else None
        title = (
            f"keys of the stage {stage}: {system} (stages.{stage}.KEY for it alone)" if stage else f"keys of {system}"
        )
        text.append(block(title, list(described(fields or {}, node, ""))))
    return "\n\n".join(text)


def keys_of_recipes() -> set[str]:
    """Returns the first parts of all keys that recipes of the package's systems have."""
    systems = (config_fields(place_of("system", system)) or {} for system in registered("system"))
    return set(fields_at(RUN)).union(*systems)


def block(title: str, keys: list[Key]) -> str:
    """Lays the keys out: a line each, and below it what the key means."""
    lines = [f"{title}:"]
    for key in keys:
        lines.append(f"  {key.path} = {key.value}".rstrip() + f"    [{key.kind}]")
        lines += textwrap.wrap(key.about, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def described(fields: dict[str, Field], node: dict, path: str, free: bool = False) -> Iterator[Key]:
    """Yields the keys of a block, however deep; `free` where none of them changes what is trained."""
    for field in fields.values():
        field = replace(field, trained=field.trained and not free)
        yield from one(field, field.annotation, node.get(field.name, MISSING), f"{path}.{field.name}".lstrip("."))


def one(field: Field, annotation: ast.expr, value: Any, path: str) -> Iterator[Key]:
    """Yields a field's own line, or those of the block that it is."""
    kinds = list(parts(annotation))
    slot, items = slot_of(kinds[0]), values_of(kinds[0])
    if slot is not None:
        yield from component(field, slot, value, path)
        return
    if items is not None and isinstance(value, dict) and value and is_block(field, items):
        for name, item in value.items():
            yield from one(field, items, item, f"{path}.{name}")
        return
    inner = look_up(field.module, kinds[0])
    optional = value is None or (value is MISSING and ast.unparse(field.default or ast.Constant("")) == "None")
    if is_block(field, kinds[0]) and isinstance(inner, Class) and not optional:
        yield from described(fields_of(inner), value if isinstance(value, dict) else {}, path, not field.trained)
        return
    kind = kind_of(field.module, annotation) + ("" if field.trained else "; may change on --resume")
    yield Key(path, kind, shown(field, value), field.about)


def component(field: Field, slot: str, value: Any, path: str) -> Iterator[Key]:
    """Yields the choice of a component, and its keys."""
    node = {"type": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    chosen = node.get("type") or default_type(field) if value is not None else None
    names = registered(slot)
    said = str(chosen) if chosen else "null" if field.default is not None else "(required)"
    yield Key(f"{path}.type", " | ".join(names), said, field.about)
    if chosen in names:
        yield from described(config_fields(place_of(slot, chosen)) or {}, node, path, not field.trained)


def kind_of(module: Module, annotation: ast.expr) -> str:
    """Names the type of a field of a module in a word or two."""
    kinds = []
    for part in parts(annotation):
        part = alias_of(module, part)
        choices = arguments(part, "Literal")
        match arguments(part, "list") or arguments(part, "tuple"):
            case [item] | [item, ast.Constant(value=EllipsisType())] if arguments(alias_of(module, item), "Literal"):
                kinds.append(f"list of {kind_of(module, item)}")
            case _:
                kinds += [str(ast.literal_eval(choice)) for choice in choices] or [with_range(part)]
    return " | ".join([*kinds, *["null"] * ("None" in ast.unparse(annotation))])


def with_range(annotation: ast.expr) -> str:
    """Names a type and its range, where it is made of plain types and of `config/ranges.py`'s."""
    text = ast.unparse(annotation)
    try:
        return ranges.described(eval(text, vars(annotated_types) | vars(ranges)))
    except NameError:  # a type of the field's own module
        return text


def shown(field: Field, value: Any) -> str:
    """Formats the recipe's value, or the default."""
    default = field.default
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        keywords = {keyword.arg: keyword.value for keyword in default.keywords}
        default = keywords.get("default", keywords.get("default_factory"))
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "Schedule.constant":
        default = default.args[0]
    if value is MISSING:
        if default is None:
            return "(required)"
        text = ast.unparse(default)
        try:
            value = {"dict": {}, "list": []}[text] if text in ("dict", "list") else ast.literal_eval(default)
        except ValueError:
            return text
    value = list(value) if isinstance(value, tuple) else value
    return (
        yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True).removesuffix("...\n").strip()
    )
