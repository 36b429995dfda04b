"""Plain values: what may go into a checkpoint or a hyperparameter file, and the files of such values.

May touch the named files. Nothing that stands in one is ever imported or called.
"""

from __future__ import annotations

import argparse
import ast
import csv
import dataclasses
import enum
import os
import re
import sys
from functools import cache
from pathlib import PurePath
from typing import Any

from functrain import files
from functrain.trainer.narrow import class_of, is_dict, is_list, is_mapping, is_sequence

_EXPONENT_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


def to_plain(value: Any, where: str = "value") -> Any:
    """`value` in None, bool, int, float, str and lists, tuples and dictionaries of those; new containers.

    Paths become strings, Namespaces and dataclasses dictionaries, members of an Enum their values, and NumPy
    scalars Python numbers.

    Args:
        value: what to convert.
        where: what the caller calls it; the error continues from there to the offender.

    Raises:
        TypeError: something in it is none of these. The message names the place, e.g.
            `hparams['model']['act']`.
    """
    return _plain(value, where, ())


def storable(hparams: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the hyperparameters that are plain values, and the names of those that are not.

    Args:
        hparams: a mapping, an argparse.Namespace or a dataclass instance.
    """
    plain: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in as_dict(hparams, "hparams").items():
        try:
            plain[name] = to_plain(value, f"hparams[{name!r}]")
        except TypeError:
            left_out.append(name)
    return plain, left_out


def as_dict(value: Any, where: str) -> dict[str, Any]:
    """Return the names and values of a mapping, an argparse.Namespace or a dataclass instance, unchanged.

    Raises:
        TypeError: it is something else, or a name is not a string. The message says which.
    """
    if is_mapping(value):
        pairs = dict(value)
    elif isinstance(value, argparse.Namespace):
        pairs = dict(vars(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        raise TypeError(
            f"{where} is a {_type_name(value)}; give a dictionary, an argparse.Namespace or a dataclass instance"
        )
    for name in pairs:
        if not isinstance(name, str):
            raise TypeError(f"{where} has the key {name!r}, a {_type_name(name)}; names must be strings")
    return pairs


def save_hparams_yaml(path: str | os.PathLike[str], hparams: Any) -> None:
    """Write hyperparameters as YAML, atomically. Those that are not plain are named in a comment at the top.

    Args:
        path: a local path or any URL that fsspec can write.
        hparams: a mapping, an argparse.Namespace or a dataclass instance.

    Raises:
        OSError: the file cannot be written. The message names it.
    """
    import yaml

    plain, left_out = storable(hparams)
    comment = f"# left out, not plain values: {', '.join(map(repr, left_out))}\n" if left_out else ""
    text = yaml.dump(plain, Dumper=_yaml_classes()[1], sort_keys=False, allow_unicode=True)
    with files.atomic_write(path, "w") as file:
        file.write(comment + text)


def load_hparams_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read hyperparameters from a YAML file of plain values.

    Numbers with an exponent and no point, such as 1e-3, are floats. Dates and times of day, which are neither numbers
    nor words, stay the text that they are.

    Raises:
        OSError: the file is missing or unreadable. The message names it.
        ValueError: it is no YAML, its top level is no mapping, it names a value twice, holds something else than plain
            values, or has a tag that asks for a Python object. The message names the file and the place; nothing of
            it has been run.
    """
    import yaml

    with files.open_read(path) as file:
        content = file.read()
    try:
        loaded = yaml.load(content, Loader=_yaml_classes()[0])
    except _ForeignTag as error:
        raise ValueError(
            f"'{os.fspath(path)}', line {error.line}: the tag {error.tag} asks for more than plain values; "
            "nothing was run. Write the value as plain YAML"
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"'{os.fspath(path)}' cannot be read as YAML: {error}") from error
    if loaded is None:
        return {}
    if not is_dict(loaded):
        raise ValueError(f"'{os.fspath(path)}' holds a {_type_name(loaded)} where `name: value` lines are needed")
    try:
        return {name: _plain(value, name, (id(loaded),)) for name, value in loaded.items()}
    except TypeError as error:
        raise ValueError(f"'{os.fspath(path)}': {error}") from error


def load_tags_csv(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read test-tube's meta_tags.csv: the header `key,value`, then one hyperparameter a line.

    A value that is a Python literal of plain values becomes that; anything else stays the string it is.

    Raises:
        OSError: the file is missing or unreadable. The message names it.
        ValueError: another header, or a line without exactly two fields. The message says where.
    """
    with files.open_read(path, "r") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, None)
            if header != ["key", "value"]:
                raise ValueError(f"'{os.fspath(path)}' starts with {header}; the header must be key,value")
            tags: dict[str, Any] = {}
            for row in reader:
                if len(row) != 2:
                    place = f"'{os.fspath(path)}', line {reader.line_num}"
                    raise ValueError(f"{place}: {row} has {len(row)} fields; 2 are needed")
                tags[row[0]] = _literal(row[1])
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"'{os.fspath(path)}' cannot be read as CSV: {error}") from error
    return tags


def _plain(value: Any, where: str, parents: tuple[int, ...]) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, where, parents)
    value = _python_scalar(value)
    if value is None or isinstance(value, bool):
        return value
    # Subclasses would be stored with their class; their values are what counts.
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, PurePath):
        return str(value)
    if id(value) in parents:
        raise TypeError(f"{where} contains itself, and cannot be stored")
    parents = (*parents, id(value))
    if is_sequence(value):
        items = [_plain(item, f"{where}[{index}]", parents) for index, item in enumerate(value)]
        return items if is_list(value) else tuple(items)
    has_fields = isinstance(value, argparse.Namespace) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )
    if has_fields:
        value = as_dict(value, where)
    if is_mapping(value):
        return {_plain_key(key, where): _plain(item, f"{where}[{key!r}]", parents) for key, item in value.items()}
    raise TypeError(
        f"{where} is a {_type_name(value)}, which cannot be stored: only None, bool, int, float, str and "
        "lists, tuples and dictionaries of them can. Leave it out (`save_hyperparameters(ignore=...)`) or "
        "make it plain"
    )


def _plain_key(key: Any, where: str) -> Any:
    plain = _plain(key, f"the key {key!r} of {where}", ())
    if isinstance(plain, (list, dict, tuple)):
        raise TypeError(f"the key {key!r} of {where} is a {_type_name(key)}; use a string or a number")
    return plain


def _python_scalar(value: Any) -> Any:
    # Who has not imported NumPy cannot have made one of its scalars.
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    return float(value) if isinstance(value, numpy.floating) else value.item()


def _type_name(value: Any) -> str:
    kind = class_of(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _literal(text: str) -> Any:
    try:
        return to_plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


class _ForeignTag(Exception):
    def __init__(self, tag: str, line: int) -> None:
        self.tag = tag.replace("tag:yaml.org,2002:", "!!")
        self.line = line


# What YAML 1.1 makes of text that nobody means so: dates, 12:30 as a number of base 60, a lone '='.
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")


def _leave_as_text(loader: Any) -> None:
    """Take from a loader class the resolvers that turn such text into something else."""
    meant = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
    loader.yaml_implicit_resolvers = {
        first: [("tag:yaml.org,2002:str", _BASE_60), *(pair for pair in pairs if pair[0] not in meant)]
        for first, pairs in loader.yaml_implicit_resolvers.items()
    }


@cache
def _yaml_classes() -> tuple[Any, Any]:
    """Return a safe loader and a safe dumper that agree on what a float looks like. Made late: PyYAML is slow."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    class Dumper(yaml.SafeDumper):
        pass

    def refuse(loader: Any, node: Any) -> None:
        raise _ForeignTag(node.tag, node.start_mark.line + 1)

    def string(dumper: Any, text: str) -> Any:
        # PyYAML folds these line ends away in every style but the double-quoted one.
        style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, string)

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key.value, str) else id(key)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(name)
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(None, refuse)  # type: ignore[arg-type]
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    for tag in ("binary", "omap", "pairs", "set", "timestamp"):
        Loader.add_constructor(f"tag:yaml.org,2002:{tag}", refuse)
    _leave_as_text(Loader)
    kinds: tuple[Any, Any] = (Loader, Dumper)
    for kind in kinds:
        kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_FLOAT, list("-+.0123456789"))
    return Loader, Dumper
