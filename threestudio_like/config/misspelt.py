"""Refuses unknown keys and types by the source of the Configs, before the classes that a recipe chooses are imported.

What it lets pass, for it cannot be read or is no matter of names, `registry.parse` refuses.
"""

import ast
from collections.abc import Collection
from typing import Any

from threestudio_like.config.fields import (
    Class,
    Field,
    config_fields,
    fields_of,
    is_block,
    is_whole,
    look_up,
    parts,
    slot_of,
    values_of,
)
from threestudio_like.config.registry import chosen_type, place_of
from threestudio_like.config.renamed import hint
from threestudio_like.errors import UserError


def refuse_misspelt(slot: str, node: Any, where: str, also: Collection[str] = ()) -> None:
    """Raises UserError for an unknown type of a component, or an unknown key in its block, however deep.

    Keys in `also` are suggested beside the component's own.
    """
    if not isinstance(node, str | dict):
        return
    name = chosen_type(slot, node, where)
    fields = config_fields(place_of(slot, name))
    if fields is not None and isinstance(node, dict):
        refuse_unknown({key: value for key, value in node.items() if key != "type"}, fields, where, also)


def refuse_unknown(node: dict, fields: dict[str, Field], where: str, also: Collection[str] = ()) -> None:
    """Raises UserError for a key of a block that is not among its fields, or for one deeper in it."""
    for key in node:
        if key not in fields:
            raise UserError(f"{where or 'recipe'}: unknown key '{key}'{hint(f'{where}.{key}', {*fields, *also})}")
    for key, value in node.items():
        refuse_in_value(fields[key], fields[key].annotation, value, f"{where}.{key}".lstrip("."))


def refuse_in_value(field: Field, annotation: ast.expr, value: Any, where: str) -> None:
    """Raises UserError for an unknown type or key in a field's value, where it is a component, a block, or a map."""
    kind = next(parts(annotation), None)
    if kind is None:
        return
    slot, items, inner = slot_of(kind), values_of(kind), look_up(field.module, kind)
    if slot is not None:
        refuse_misspelt(slot, value, where)
    elif items is not None and isinstance(value, dict):
        for name, item in value.items():
            refuse_in_value(field, items, item, f"{where}.{name}")
    elif isinstance(inner, Class) and isinstance(value, dict) and is_block(field, kind) and is_whole(inner):
        refuse_unknown(value, fields_of(inner), where)
