"""Refuses unknown keys and types by the source of the Configs, before the classes that a recipe chooses are imported.

What it lets pass, for it cannot be read or is no matter of names, `registry.parse` refuses.
"""

import ast
from collections.abc import Collection, Iterator
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
from threestudio_like.config.registry import PLAIN, chosen_type, place_of, registered, shortened
from threestudio_like.config.renamed import hint
from threestudio_like.errors import UserError


def refuse_misspelt(slot: str, node: Any, where: str, also: Collection[str] = ()) -> None:
    """Raises UserError for an unknown type of a component, or an unknown key in its block, however deep.

    Keys in `also` are suggested beside the component's own.
    """
    if not isinstance(node, PLAIN):
        return
    name = chosen_type(slot, node, where)
    fields = config_fields(place_of(slot, name))
    if fields is not None and isinstance(node, dict):
        own = {key: value for key, value in node.items() if key != "type"}
        try:
            refuse_unknown(own, fields, where, also)
        except UnknownKeyError as error:
            if slot != "system" or not error.plain:
                raise
            places = [f"'{place}'" for place in paths_to(error.key, fields, own, "")]
            if not places:
                raise
            raise UserError(f"{error.begun}; it is a key of another block: {' or '.join(places)}") from None


class UnknownKeyError(UserError):
    """A key that is not among its block's fields."""

    def __init__(self, where: str, key: str, known: Collection[str]):
        self.key, self.begun = key, f"{where or 'recipe'}: unknown key '{key}'"
        found = hint(f"{where}.{key}", known)
        self.plain = found.kind == "nearest"
        """Whether nothing is known of it but the names that are near."""
        super().__init__(f"{self.begun}{found}")


def paths_to(name: str, fields: dict[str, Field], node: dict, where: str) -> Iterator[str]:
    """Yields the paths of a component's keys of this name, in the blocks that it has."""
    for field in fields.values():
        here, value = f"{where}.{field.name}".lstrip("."), node.get(field.name)
        if field.name == name:
            yield here
        for kind in parts(field.annotation):
            slot, items, inner = slot_of(kind), values_of(kind), look_up(field.module, kind)
            if slot is not None and isinstance(value, dict) and value.get("type") in registered(slot):
                own = config_fields(place_of(slot, value["type"]))
                yield from paths_to(name, own or {}, value, here)
            elif items is not None and isinstance(value, dict):
                of = look_up(field.module, items)
                if isinstance(of, Class) and is_block(field, items):
                    for key, item in value.items():
                        yield from paths_to(
                            name, fields_of(of), item if isinstance(item, dict) else {}, f"{here}.{key}"
                        )
            elif isinstance(inner, Class) and is_block(field, kind):
                yield from paths_to(name, fields_of(inner), value if isinstance(value, dict) else {}, here)


def refuse_unknown(node: dict, fields: dict[str, Field], where: str, also: Collection[str] = ()) -> None:
    """Raises UserError for a key of a block that is not among its fields, or for one deeper in it."""
    for key in node:
        if key not in fields:
            raise UnknownKeyError(where, key, {*fields, *also})
    for key, value in node.items():
        refuse_in_value(fields[key], fields[key].annotation, value, f"{where}.{key}".lstrip("."))


def refuse_in_value(field: Field, annotation: ast.expr, value: Any, where: str) -> None:
    """Raises UserError for an unknown type or key in a field's value, where it is a component, a block, or a map.

    Anything else in its place is refused too.
    """
    kind = next(parts(annotation), None)
    if kind is None or (value is None and "None" in ast.unparse(annotation)):
        return
    slot, items, inner = slot_of(kind), values_of(kind), look_up(field.module, kind)
    if slot is not None:
        refuse_misspelt(slot, value, where)
    elif items is not None:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected a map, got {shortened(value)}")
        for name, item in value.items():
            refuse_in_value(field, items, item, f"{where}.{name}")
    elif isinstance(inner, Class) and isinstance(value, PLAIN) and is_block(field, kind) and is_whole(inner):
        if not isinstance(value, dict | None):
            raise UserError(f"{where}: expected a block, got {shortened(value)}")
        refuse_unknown(value or {}, fields_of(inner), where)
