"""Kubernetes documents from YAML, with the line of every field."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelport.errors import UsageError

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_SIZE_LIMIT = 1024 * 1024  # bytes of a file; the engine takes no larger object
_VALUES_LIMIT = 100_000  # of a document whose aliases are written out

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_KNOWN_TAGS = {_MERGE, *(f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool"))}
_KNOWN_TAGS.add(f"{_TAG}null")
_NO_NUMBERS = {".inf", ".nan"}


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - pyyaml's own attribute
        first: [one for one in resolvers if one[0] in _KNOWN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class Document:
    """One object as it was written.

    Attributes:
        source: The file's name, or `stdin`.
        value: The object, of JSON's types.
        node: The same as pyyaml read it, with its marks.
    """

    source: str
    value: Any
    node: yaml.Node

    @property
    def kind(self) -> str:
        """What kind of object it is; empty where it does not say."""
        return str(self.value.get("kind", "")) if isinstance(self.value, dict) else ""

    @property
    def name(self) -> str:
        """The object's name; empty where it has none."""
        metadata = self.value.get("metadata") if isinstance(self.value, dict) else None
        return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""

    def line(self, path: str = "") -> int:
        """Return the line of a field, or of the innermost part that leads to it.

        Args:
            path: `spec.predictor.model.args[0]`; a key with dots in it may stand in brackets.
        """
        node, rest, line = self.node, f".{path}", self.node.start_mark.line
        while found := _step(node, rest):
            line, node, rest = found
        return int(line) + 1


def read(files: Sequence[str]) -> list[Document]:
    """Read files, folders (their YAML and JSON files, by name) and, as `-`, standard input.

    Raises:
        UsageError: One does not read; the message names its line.
    """
    found: list[Document] = []
    for file in files:
        if file == STDIN:
            found += parse(sys.stdin.buffer.read(_SIZE_LIMIT + 1), "stdin")
        else:
            for path in _paths(Path(file)):
                found += parse(_bytes(path), str(path))
    if not found:
        raise UsageError(f"there is no object in {', '.join(files)}", "name YAML files with one")
    return found


def parse(text: str | bytes, source: str) -> list[Document]:
    """Read the documents of a YAML text; those of a List one by one."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > _SIZE_LIMIT:
        raise UsageError(f"{source} is larger than {_SIZE_LIMIT} bytes", "part it into files")
    try:
        return list(_documents(data.decode("utf-8-sig"), source))
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is no text in UTF-8", "name YAML files") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise UsageError(
            f"{where}: {error.problem or error.context}", "correct the YAML"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: {error}", "correct the YAML") from error
    except RecursionError as error:
        raise UsageError(f"{source} is nested too deeply", "make it flatter") from error


def of_object(value: Any, source: str) -> list[Document]:
    """Take an object that is in memory already as if it had been written."""
    return parse(json.dumps(value, default=str), source)


def _paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and one.is_file())


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", "check the path") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})", "check the path") from error


def _documents(text: str, source: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node() and (node := loader.get_node()):
            _check(node, source, {})
            value = loader.construct_document(node)
            if value is not None:
                yield from _parted(Document(source, value, node))
    finally:
        loader.dispose()


def _parted(document: Document) -> Iterator[Document]:
    """Give the items of a List, or the document itself."""
    items = document.value.get("items") if isinstance(document.value, dict) else None
    if not document.kind.endswith("List") or not isinstance(items, list):
        yield document
        return
    nodes = next(value.value for key, value in document.node.value if key.value == "items")
    for value, item in zip(items, nodes, strict=True):
        yield Document(document.source, value, item)


def _check(node: yaml.Node, source: str, sizes: dict[int, int]) -> int:
    """Refuse what JSON has not; return how many values it is with its aliases written out."""
    where = f"{source}:{node.start_mark.line + 1}"
    if (known := sizes.get(id(node))) is not None:
        if known == 0:
            raise UsageError(f"{where}: the document holds itself", "take the alias out")
        return known
    if node.tag not in _KNOWN_TAGS:
        raise UsageError(f"{where}: {node.tag} is nothing that Kubernetes has", "take it out")
    if isinstance(node, yaml.ScalarNode):
        if node.tag == f"{_TAG}float" and node.value.lower().lstrip("+-") in _NO_NUMBERS:
            raise UsageError(f"{where}: {node.value} is no number in JSON", "write another")
        return 1
    sizes[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, source)
        parts = [value for _, value in node.value]
    else:
        parts = node.value
    size = 1 + sum(_check(part, source, sizes) for part in parts)
    if size > _VALUES_LIMIT:
        raise UsageError(f"{where}: it has more than {_VALUES_LIMIT} values", "make it smaller")
    sizes[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode, source: str) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag == _MERGE:
            continue
        if key.tag != f"{_TAG}str":
            raise UsageError(f"{source}:{line}: the key is no text", "put it in quotes")
        if key.value in seen:
            raise UsageError(
                f"{source}:{line}: {key.value} is there already, in line {seen[key.value]}",
                "keep one of them",
            )
        seen[key.value] = line


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """Go one key or index down the path: its line, what it leads to, and the rest of the path."""
    if isinstance(node, yaml.MappingNode):
        parts = [(key.value, key.start_mark.line, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [(str(i), one.start_mark.line, one) for i, one in enumerate(node.value)]
    else:
        return None
    for name, line, value in parts:
        for written in (f".{name}", f"[{name}]"):
            rest = path.removeprefix(written)
            if rest != path and (not rest or rest[0] in ".["):
                return line, value, rest
    return None
