"""Finds the classes that recipes select by `type:`, and parses plain data into their typed Configs.

A class stands under a slot and a name; `{type: name, ...}` in a recipe selects it, and every other key is a field of
its dataclass `Config`. The house's own classes stand in the `COMPONENTS` tables of its packages and are imported when
they are first chosen; classes from elsewhere are added by `register` or `offer`.
"""

import dataclasses
import functools
import importlib
import importlib.util
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from threestudio_like.config.ranges import check, field_types, refuse_violated
from threestudio_like.config.renamed import hint
from threestudio_like.config.scalars import parse_scalar
from threestudio_like.errors import MissingKeyError, UserError, brief, line_of, nearest

PACKAGES = ("threestudio_like", "priors", "systems")
"""The packages whose `COMPONENTS` are offered from the start."""

_classes: dict[str, dict[str, type | str]] = {}
"""By slot and name: a class, or "module:Class" as long as nobody has chosen it."""

LONGEST_VALUE = 60
"""Letters of a wrong value that are shown."""
PLAIN = str | bool | int | float | dict | list | tuple | type | None
"""Types of plain data; anything else is an object that is built already."""


def register(slot: str, name: str):
    """Class decorator: recipes select the class in `slot` by `type: name`. The class has a dataclass `Config`."""

    def add(cls: type) -> type:
        _add(slot, name, cls)
        return cls

    return add


def offer(components: Mapping[str, Mapping[str, str]]) -> None:
    """Adds classes that are imported when they are first chosen: `{slot: {name: "module:Class"}}`."""
    for slot, classes in components.items():
        for name, place in classes.items():
            _add(slot, name, place)


def registered(slot: str) -> list[str]:
    """Lists the names in a slot, sorted; imports none of their classes."""
    _offer_own()
    return sorted(_classes.get(slot, {}))


def find(slot: str, name: str) -> type[Any]:
    """Returns the class of this name in a slot, imported if need be. Raises KeyError."""
    _offer_own()
    chosen = _classes[slot][name]
    if isinstance(chosen, str):
        module, _, attribute = chosen.partition(":")
        chosen = _classes[slot][name] = getattr(importlib.import_module(module), attribute)
    return chosen


def place_of(slot: str, name: str) -> str:
    """Returns where the class of this name in a slot is, as "module:Class"; imports nothing. Raises KeyError."""
    _offer_own()
    return _identity(_classes[slot][name])


@functools.cache
def _offer_own() -> None:
    for package in PACKAGES:
        refuse_foreign(package)
        offer(importlib.import_module(package).COMPONENTS)


def refuse_foreign(package: str) -> None:
    """Raises UserError where another package has the name of one of this project's, and is found before it."""
    ours, spec = Path(__file__).resolve().parents[2] / package, importlib.util.find_spec(package)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    if ours not in [Path(place).resolve() for place in places]:
        told = (
            f"another package of that name, {places[0]}, is found before it; rename that one" if places else "reinstall"
        )
        raise UserError(f"this project's package '{package}' is not found: {told}")


def _add(slot: str, name: str, chosen: type | str) -> None:
    taken = _classes.setdefault(slot, {}).setdefault(name, chosen)
    if _identity(taken) != _identity(chosen):
        raise ValueError(f"{slot} '{name}' is registered twice: {_identity(taken)} and {_identity(chosen)}")


def _identity(chosen: type | str) -> str:
    return chosen if isinstance(chosen, str) else f"{chosen.__module__}:{chosen.__qualname__}"


@dataclass(frozen=True)
class Component:
    """A chosen class of a slot with its parsed Config. Annotate a Config field `Annotated[Component, "slot"]`."""

    slot: str
    type: str
    config: Any

    @property
    def cls(self) -> Any:
        """The class itself."""
        return find(self.slot, self.type)

    def build(self, *collaborators):
        """Returns the object: `cls(*collaborators, config=config)`. Raises UserError where that refuses a value."""
        try:
            return self.cls(*collaborators, config=self.config)
        except ValueError as error:  # of the class's own, or of a library that it gives the value to
            where = "" if self.cls.__module__.partition(".")[0] in PACKAGES else line_of(error)
            raise UserError(
                f"{self.slot} '{self.type}' cannot be built of these keys: {brief(error)}{where}"
            ) from error


class Built(Component):
    """Stands where a Component is expected for an object that exists already; its `config` is that object."""

    @property
    def cls(self) -> Any:
        """The object's class."""
        return type(self.config)

    def build(self, *collaborators):
        """Returns the object."""
        return self.config


def configure(piece: Any, config: Any, fields: dict[str, Any]) -> Any:
    """Returns the Config that a piece's constructor was given: ready, or by its fields.

    Fields are read as in a recipe: numbers become schedules, blocks become components; objects that are built already
    stay as they are. Raises UserError that names the piece and, of an unknown field, the nearest valid one.
    """
    kind = type(piece).Config
    if config is None:
        return parse(kind, fields, type(piece).__name__)
    if fields:
        raise UserError(f"{type(piece).__name__}: give a config or its fields, not both; got also '{min(fields)}'")
    if not isinstance(config, kind):
        raise UserError(f"{type(piece).__name__}: expected a {kind.__qualname__}, got {config!r:.80}")
    check(config, kind, type(piece).__name__)
    return config


def components(value: Any) -> Iterator[Component]:
    """Lists every component inside a Config, however deep."""
    if isinstance(value, Built):
        return
    if isinstance(value, Component):
        yield value
        yield from components(value.config)
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from components(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from components(getattr(value, field.name))


def parse_component(slot: str, node: Any, where: str) -> Component:
    """Reads `{type: name, field: value, ...}`, or takes what is built already.

    Raises UserError with the path `where` and the nearest valid name.
    """
    if isinstance(node, Component) and node.slot == slot:
        return node
    if not isinstance(node, PLAIN) and not isinstance(node, Component):
        return Built(slot, type(node).__name__, node)
    name = chosen_type(slot, node, where)
    fields = {key: value for key, value in node.items() if key != "type"} if isinstance(node, dict) else {}
    return Component(slot, name, parse(find(slot, name).Config, fields, where))


def chosen_type(slot: str, node: Any, where: str) -> str:
    """Returns the type that a component's block names. Raises UserError for none, or an unknown one."""
    known, inside = registered(slot), isinstance(node, dict)
    name = node.get("type") if inside else node
    if slot == "system":  # whose keys stand beside its name
        place = f"{where}.system".lstrip(".")
    else:
        place = f"{where}.type" if where and inside and name is not None else where or slot
    if isinstance(name, str) and name in known:
        return name
    if isinstance(name, str):
        raise UserError(f"{place}: unknown {slot} '{name}'{nearest(name, known)}")
    if slot == "system":
        beside = f"; its keys stand beside it, as `{min(map(str, name))}=`" if isinstance(name, dict) and name else ""
        raise UserError(f"{place}: expected a name, got {shortened(name)}{beside}; known: {', '.join(known)}")
    wanted = "a block with `type:`" if name is None else f"a name, got {shortened(name)}"
    raise UserError(f"{place}: expected {wanted}; {slot} types: {', '.join(known)}")


def shortened(value: Any) -> str:
    """Writes a value that is shown in a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def parse(kind: Any, value: Any, where: str) -> Any:
    """Parses `value` (plain YAML data) as the annotated type `kind`. Raises UserError that names the path `where`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated and arguments[0] is Component:
        return parse_component(arguments[1], value, where)
    if origin is Annotated:
        parsed = parse(arguments[0], value, where)
        refuse_violated(parsed, arguments[1:], where, value)
        return parsed
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _parse_optional(arguments, value, where)
    if origin is Literal:
        if not isinstance(value, str | int | None):
            known = ", ".join(map(str, arguments))
            raise UserError(f"{where}: expected a name, got {shortened(value)}; known: {known}")
        if value not in arguments:
            raise UserError(f"{where}: '{value}' is not possible{nearest(str(value), arguments)}")
        return value
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected a map, got {shortened(value)}")
        names, kind = arguments
        kept = {key: item for key, item in value.items() if item is not None or kind is Any}  # null takes a name out
        return {parse(names, key, where): parse(kind, item, f"{where}.{key}") for key, item in kept.items()}
    if origin in (tuple, list):
        return _parse_sequence(origin, arguments, value, where)
    if isinstance(kind, type) and isinstance(value, kind) and dataclasses.is_dataclass(kind):
        return value
    if hasattr(kind, "from_config"):
        return kind.from_config(value, where)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    return parse_scalar(kind, value, where)


def _parse_optional(arguments, value, where):
    choices = [choice for choice in arguments if choice is not type(None)]
    if value is None:
        return None
    return parse(choices[0], value, where)


def _parse_sequence(origin, arguments, value, where):
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{where}: expected a list, got {shortened(value)}")
    kinds = arguments
    if origin is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
        kinds = (arguments[0],) * len(value)
    if len(kinds) != len(value):
        raise UserError(f"{where}: expected {len(kinds)} values, got {len(value)}")
    return origin(parse(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _parse_dataclass(kind, value, where):
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a block, got {shortened(value)}")
    hints, fields = field_types(kind), {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise UserError(f"{where or 'recipe'}: unknown key '{key}'{hint(f'{where}.{key}', fields)}")
    given = {key: parse(hints[key], item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise MissingKeyError(where, name)
    try:
        return kind(**given)
    except ValueError as error:
        raise UserError(f"{where or 'recipe'}: {error}") from None
