"""A node of an ONNX graph as its importer sees it: what it reads, and thereby understands."""
from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ir import Error, NDArray
from nncompile.importers.names import printable
from nncompile.importers.onnx.reader import dtype_of
from nncompile.importers.sizes import Known

# AttributeProto's numbers for kinds of attributes, with the field of each.
_FLOAT, _INT, _STRING, _TENSOR, _GRAPH, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 5, 6, 7, 8
_KINDS = {_FLOAT: "f", _INT: "i", _STRING: "s", _TENSOR: "t", _GRAPH: "g", _FLOATS: "floats",
          _INTS: "ints", _STRINGS: "strings"}
_WORDS = {_FLOAT: "a number", _INT: "an integer", _STRING: "a text", _TENSOR: "a tensor",
          _GRAPH: "a graph", _FLOATS: "numbers", _INTS: "integers", _STRINGS: "texts"}
_REQUIRED: Any = object()

Values = Sequence[Known | None]


class Node:
    """One node while it is imported.

    Every attribute that an importer reads is noted; those that are left over are unknown to it, and
    then the node is refused. version: the opset in which the operator got its present meaning.
    outputs: which of the outputs the graph uses. run: imports a graph in an attribute.
    """

    def __init__(self, op: str, version: int, attributes: Mapping[str, Any],
                 outputs: Sequence[bool], tensor: Callable[[Any], NDArray],
                 run: Callable[[Any, Values], list[Known]]) -> None:
        self.op, self.version, self.outputs = op, version, outputs
        self.notes: list[str] = []
        self._attributes, self._tensor, self._run = attributes, tensor, run
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Returns whether the attribute is given."""
        self._read.add(name)
        return name in self._attributes

    def int(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns an integer, or the default where it is not given."""
        return self._value(name, _INT, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """Returns an integer that is 0 or 1 as a bool. Raises Error for any other."""
        value = self._value(name, _INT, builtins.int(default))
        if value not in (0, 1):
            raise Error(f"{name} is 0 or 1, not {value}")
        return bool(value)

    def float(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a number, or the default where it is not given."""
        return self._value(name, _FLOAT, default)

    def ints(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a list of integers, or the default where it is not given."""
        value = self._value(name, _INTS, default)
        return value if value is default else [builtins.int(v) for v in value]

    def floats(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a list of numbers, or the default where it is not given."""
        value = self._value(name, _FLOATS, default)
        return value if value is default else [builtins.float(v) for v in value]

    def texts(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a list of texts as bytes, or the default where it is not given."""
        return self._value(name, _STRINGS, default)

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a text, or the default where it is not given."""
        value = self._value(name, _STRING, _REQUIRED if default is None else default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def one_of(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        """Returns a text that is one of the words. Raises Error for any other."""
        text = self.text(name, default)
        if text not in words:
            raise Error(f"{name}={printable(text)!r} is not supported, "
                        f"only {', '.join(words)}")
        return text

    def tensor(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns an ndarray, or the default where it is not given."""
        value = self._value(name, _TENSOR, default)
        return value if value is default else self._tensor(value)

    def graph(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a graph, which `run` imports, or the default where it is not given."""
        return self._value(name, _GRAPH, default)

    def dtype(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns the IR's name of an element type, or the default where it is not given."""
        value = self._value(name, _INT, default)
        return value if value is default else dtype_of(value)

    def irrelevant(self, *names: str) -> None:
        """Notes attributes that change nothing for what is supported here."""
        self._read.update(names)

    def run(self, graph: Any, inputs: Values) -> list[Known]:
        """Returns the outputs of a graph in an attribute, for these inputs."""
        return self._run(graph, inputs)

    def unread(self) -> list[str]:
        """Returns the names of the attributes that nobody has asked for."""
        return [name for name in self._attributes if name not in self._read]

    def _value(self, name: str, kind: builtins.int, default: Any) -> Any:
        self._read.add(name)
        attribute = self._attributes.get(name)
        if attribute is None:
            if default is _REQUIRED:
                raise Error(f"the attribute {name} is missing")
            return default
        if attribute.type != kind:
            raise Error(f"the attribute {name} is {_WORDS[kind]}, not "
                        f"{_WORDS.get(attribute.type, 'something else')}")
        return getattr(attribute, _KINDS[kind])
