"""Reads the fields of Configs, with their defaults and the strings under them, from the source; imports nothing.

So a mistaken key is told, and `--help` answered, before anything heavy is loaded. What cannot be followed in the source
(a class that is made at run time) has no fields here; `registry.parse` knows it when it is imported.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """A module's syntax tree."""

    name: str
    tree: ast.Module


@dataclass(frozen=True)
class Class:
    """A class in its module."""

    module: Module
    node: ast.ClassDef


@dataclass(frozen=True)
class Field:
    """A field of a Config, as it is written."""

    name: str
    annotation: ast.expr
    default: ast.expr | None
    about: str
    """The string under it."""
    module: Module
    """Where its names mean something."""
    trained: bool = True
    """Whether it changes what is trained, so that a run cannot be taken up with another value."""


@functools.cache
def read_module(name: str) -> Module | None:
    """Reads a module's source; None where there is none."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [Path(place, *rest) for place in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    if not rest and spec.origin:
        files.insert(0, Path(spec.origin))
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else Module(name, ast.parse(file.read_text(encoding="utf-8")))


def find_class(place: str) -> Class | None:
    """Returns the class at "module:Class"; None where it is not to be found in the source."""
    name, _, path = place.partition(":")
    module = read_module(name) if "<locals>" not in path else None
    found = None if module is None else look_up(module, ast.parse(path, mode="eval").body)
    return found if isinstance(found, Class) else None


def look_up(module: Module, name: ast.expr) -> Class | Module | None:
    """Returns what a name, or a dotted name, means in a module."""
    if isinstance(name, ast.Attribute):
        owner = look_up(module, name.value)
        if isinstance(owner, Module):
            return look_up(owner, ast.Name(name.attr))
        return None if owner is None else member(owner, name.attr)
    if not isinstance(name, ast.Name):
        return None
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name.id:
            return Class(module, node)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name.id:
                    whole, parent = read_module(f"{node.module}.{alias.name}"), read_module(node.module)
                    return whole or (parent and look_up(parent, ast.Name(alias.name)))
    return None


def alias_of(module: Module, name: ast.expr) -> ast.expr:
    """Returns the `Literal[...]` that a name stands for in a module or where it is imported from; else itself."""
    if not isinstance(name, ast.Name):
        return name
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and targets(node) == [name.id] and arguments(node.value, "Literal"):
            return node.value
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                source = read_module(node.module) if (alias.asname or alias.name) == name.id else None
                if source is not None and (found := alias_of(source, own := ast.Name(alias.name))) is not own:
                    return found
    return name


def member(owner: Class, name: str) -> Class | None:
    """Returns a class that stands in a class, there or in its bases."""
    for node in owner.node.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Class(owner.module, node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and targets(node) == [name]:
            found = look_up(owner.module, node.value)
            return found if isinstance(found, Class) else None
    return next((found for base in bases(owner) if (found := member(base, name)) is not None), None)


def targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """Returns the names that an assignment is to."""
    return [ast.unparse(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])]


def bases(owner: Class) -> list[Class]:
    """Lists the classes that a class is derived from, as far as they are the house's own."""
    found = (look_up(owner.module, base) for base in owner.node.bases)
    return [base for base in found if isinstance(base, Class)]


def is_whole(owner: Class) -> bool:
    """Tells whether all that a class is derived from is found, so that its fields are all that it has."""
    found = bases(owner)
    return len(found) == len(owner.node.bases) and all(is_whole(base) for base in found)


def fields_of(config: Class) -> dict[str, Field]:
    """Returns the fields of a dataclass by name, its bases' first."""
    fields: dict[str, Field] = {}
    untrained: set[str] = set()
    for base in reversed(bases(config)):
        fields |= fields_of(base)
    for node, below in zip(config.node.body, [*config.node.body[1:], None], strict=True):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and targets(node) == ["untrained"]:
            untrained |= {str(name.value) for name in ast.walk(node.value) if isinstance(name, ast.Constant)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if "ClassVar" in ast.unparse(node.annotation):
                continue
            about = ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                about = " ".join(str(below.value.value).split())
            fields[node.target.id] = Field(node.target.id, node.annotation, node.value, about, config.module)
    return {name: replace(one, trained=one.trained and name not in untrained) for name, one in fields.items()}


def fields_at(place: str) -> dict[str, Field]:
    """Returns the fields of the dataclass at "module:Class"; none where it is not to be found."""
    found = find_class(place)
    return {} if found is None else fields_of(found)


def config_fields(place: str) -> dict[str, Field] | None:
    """Returns the fields of the Config of the class at "module:Class"; None where they cannot be read."""
    owner = find_class(place)
    config = None if owner is None else member(owner, "Config")
    return fields_of(config) if config is not None and is_whole(config) else None


def parts(annotation: ast.expr) -> Iterator[ast.expr]:
    """Yields the alternatives of `A | B | None`, without None."""
    if isinstance(annotation, ast.BinOp):
        yield from parts(annotation.left)
        yield from parts(annotation.right)
    elif not (isinstance(annotation, ast.Constant) and annotation.value is None):
        yield annotation


def slot_of(annotation: ast.expr) -> str | None:
    """Returns the slot of `Annotated[Component, "slot"]`."""
    match arguments(annotation, "Annotated"):
        case [ast.Name("Component"), ast.Constant(str(slot)), *_]:
            return slot
    return None


def values_of(annotation: ast.expr) -> ast.expr | None:
    """Returns what the values of `dict[str, X]` are, also where that has a range."""
    ranged = arguments(annotation, "Annotated")
    match arguments(ranged[0] if ranged else annotation, "dict"):
        case [_, values]:
            return values
    return None


def arguments(annotation: ast.expr, of: str) -> list[ast.expr]:
    """Returns A and B of `of[A, B]`; nothing for another annotation."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == of:
        return annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    return []


def is_block(field: Field, annotation: ast.expr) -> bool:
    """Tells whether values are blocks of keys: a dataclass that is not read from a number or text, or a component."""
    if slot_of(annotation) is not None:
        return True
    inner = look_up(field.module, annotation)
    if not isinstance(inner, Class):
        return False
    methods = {node.name for node in inner.node.body if isinstance(node, ast.FunctionDef)}
    return "from_config" not in methods and any("dataclass" in ast.unparse(one) for one in inner.node.decorator_list)


def default_type(field: Field) -> str | None:
    """Returns the type of a default such as `Component("background", "solid", ...)`."""
    for node in ast.walk(field.default) if field.default is not None else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Component" and len(node.args) > 1:
            return ast.literal_eval(node.args[1])
    return None
