"""Reads the text of graphs and types: `parse(str(graph))` prints as the same text again.

README.md has the grammar. A text may come from anywhere: reading it takes time and memory in
proportion to its length, executes nothing, and ends in a graph or in a ParseError.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ir.builder import Builder
from ir.graph import RELATIONS, Graph, Operand, Reading, Value, Where
from ir.printer import ORIGIN, WORD, name_value
from ir.types import (
    DTYPES,
    MAX_COEFFICIENT,
    Dim,
    DimExpr,
    Error,
    TensorType,
    Term,
    floor_div,
    polynomial,
    symbol,
)

_KINDS = {"%": "input", "@": "parameter", "$": "constant", "&": "state"}

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'            # a JSON string
_TOKEN = re.compile(rf"""\s*(?:
    (?P<value>  [%@$&](?:[\w.]+|{_STRING}) )
  | (?P<string> {_STRING} )
  | (?P<float>  [0-9]+(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)(?![\w.]) )
  | (?P<int>    [0-9]+(?![\w.]) )
  | (?P<word>   {WORD} )
  | (?P<comment>[#].* )
  | (?P<mark>   ->|[<>=!]=|[][(){{}}:,=*+<>-] )
  | (?P<end>    $ )
)""", re.VERBOSE)

_COMMENT = re.compile(rf"# *({_STRING}|{ORIGIN})(?: {{2,}}({_STRING}|{ORIGIN}))? *")

_QUOTIENT, _MAX_DEPTH = "FloorDiv", 16           # of quotients within quotients
_MAX_DIGITS = 19                                 # of a number in a size: 64 bits


class ParseError(Error):
    """A text is no graph or no type; the message says in which line and why."""


# -- read a line -----------------------------------------------------------------------------------

class _Line:
    """The tokens of one line and a position among them."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []  # (group of _TOKEN, text)
        self.position = self.depth = 0
        at = 0
        while not self.tokens or self.tokens[-1][0] != "end":
            if (match := _TOKEN.match(text, at)) is None:
                raise Error(f"cannot read {_shortened(text[at:].strip())}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    @property
    def next(self) -> str:
        return self.tokens[self.position][1]

    @property
    def kind(self) -> str:
        return self.tokens[self.position][0]

    def take(self, kind: str, meaning: str) -> str:
        """The next token, which has to be of this kind."""
        if self.kind != kind:
            raise self.unexpected(meaning)
        self.position += 1
        return self.tokens[self.position - 1][1]

    def accept(self, *texts: str) -> str:
        """The next token if it is one of these, else an empty text."""
        if self.kind not in ("mark", "word") or self.next not in texts:
            return ""
        self.position += 1
        return self.tokens[self.position - 1][1]

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.unexpected(f"{text!r}")

    def expect_end(self) -> None:
        if self.kind != "end":
            raise self.unexpected("the end of the line")

    def unexpected(self, meaning: str) -> Error:
        return Error(f"expected {meaning}, got {_shortened(self.next) if self.next else 'nothing'}")

    def listed(self, element: Callable[[_Line], Any], closing: str) -> list[Any]:
        """Elements between commas, up to the closing mark."""
        if self.accept(closing):
            return []
        elements = [element(self)]
        while not self.accept(closing):
            if not self.accept(","):
                raise self.unexpected(f"',' or {closing!r}")
            elements.append(element(self))
        return elements


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _unquoted(name: str) -> str:
    if not name.startswith('"'):
        return name
    import json
    try:
        return str(json.loads(name))
    except ValueError:
        raise Error(f"{_shortened(name)} is not a JSON string") from None


def _read_type(line: _Line) -> TensorType:
    dtype = line.take("word", f"a type: {', '.join(DTYPES)} and a shape")
    if dtype not in DTYPES:
        raise Error(f"there is no element type {_shortened(dtype)}, only {', '.join(DTYPES)}")
    line.expect("[")
    return TensorType(dtype, tuple(line.listed(_read_size, "]")))


def _read_size(line: _Line) -> Dim:
    """A sum of products: 2*B*T - B + 1."""
    summands = [_read_product(line, line.accept("-"))]
    while sign := line.accept("+", "-"):
        summands.append(_read_product(line, sign))
    return polynomial(summands)


def _read_product(line: _Line, sign: str) -> Term:
    names, coefficient = [], -1 if sign == "-" else 1
    while True:
        if line.kind == "int":
            coefficient *= _read_int(line)
        else:
            name = line.take("word", "a size: a number, a capitalised name, or such as 2*B + 1")
            names += _read_quotient(line) if name == _QUOTIENT and line.accept("(") else [
                n for (n,), _ in symbol(name).terms]
        if abs(coefficient) > MAX_COEFFICIENT:
            raise Error("a number in a size is too large")
        if not line.accept("*"):
            return tuple(names), coefficient


def _read_quotient(line: _Line) -> list[str]:
    """The rest of FloorDiv(T + 1, 2), from which nothing whole can be taken out."""
    line.depth += 1
    if line.depth > _MAX_DEPTH:
        raise Error("a size is nested too deeply")
    numerator = _read_size(line)
    line.expect(",")
    quotient = floor_div(numerator, _read_int(line))
    line.expect(")")
    line.depth -= 1
    match quotient:
        case DimExpr(terms=((names, 1),)):
            return [*names]
    raise Error(f"a quotient within a size is in its simplest form, not {quotient}")


def _read_int(line: _Line) -> int:
    if len(line.next) > _MAX_DIGITS:              # int() itself would refuse a very long one
        raise Error(f"the number {_shortened(line.next)} is too large")
    return int(line.take("int", "an integer"))


def _is_float(line: _Line) -> bool:
    """Whether a float comes next, behind a sign or not."""
    kind, text = line.tokens[line.position + (line.next == "-")]
    return kind == "float" or text in ("inf", "nan")


def _read_float(line: _Line) -> float:
    sign = line.accept("-")
    if line.kind not in ("int", "float") and line.next not in ("inf", "nan"):
        raise line.unexpected("an operand: a value such as %x or a number")
    line.position += 1
    return float(sign + line.tokens[line.position - 1][1])


def _read_attr(line: _Line) -> tuple[str, Any]:
    name = line.take("word", "the name of an attribute")
    line.expect("=")
    if line.accept("["):
        return name, tuple(line.listed(_read_size, "]"))
    if word := line.accept("true", "false"):
        return name, word == "true"
    if re.fullmatch(WORD, line.next) and not _is_float(line) and not line.next[0].isupper():
        return name, line.take("word", "a word")
    return name, _read_float(line) if _is_float(line) else _read_size(line)


def _read_origin(line: _Line) -> Where:
    """The origin that a comment behind a statement says, if there is one."""
    if line.kind != "comment":
        return Where()
    comment = line.take("comment", "a comment").rstrip()
    if (match := _COMMENT.fullmatch(comment)) is None:
        raise Error(f"a comment is `# layer  line`, odd ones as JSON, not {_shortened(comment)}")
    return Where(_unquoted(match[1]), _unquoted(match[2] or ""))


# -- read a graph ----------------------------------------------------------------------------------

class _Reader:
    """Reads a graph line by line: the header, declarations and nodes, the return, the brace."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.values: dict[str, Value] = {}
        self.name = ""
        self.types: list[TensorType] = []        # of the outputs, as the header says
        self.outputs: list[Value] = []
        self.updates: dict[Value, Value] = {}    # states -> their new values
        self.expected = "graph"                  # then "return", "}", "" for nothing more

    def read(self, line: _Line) -> None:
        if line.kind == "end" or line.kind == "comment":
            return                               # a line of its own, for the reader
        if self.expected == "graph":
            self.read_header(line)
        elif self.expected == "return" and line.kind == "value":
            self.read_value(line)
        elif self.expected == "return" and line.accept("require"):
            self.read_requirement(line)
        elif self.expected == "return" and line.accept("read"):
            self.read_reading(line)
        elif self.expected == "return" and line.next == "return":
            self.read_return(line)
        elif self.expected == "}" and line.accept("}"):
            self.expected = ""
        else:
            wanted = {"return": "a declaration, `require`, `read`, a node or `return`",
                      "": "nothing more"}
            raise line.unexpected(wanted.get(self.expected, f"`{self.expected}`"))
        line.expect_end()

    def read_header(self, line: _Line) -> None:
        if not line.accept("graph"):
            raise line.unexpected("`graph name(%input: type, ...) -> type, ... {`")
        name = "string" if line.kind == "string" else "word"
        self.name = _unquoted(line.take(name, "the name of the graph"))
        line.expect("(")
        line.listed(self.read_declaration, ")")
        if line.accept("->"):
            self.types = line.listed(_read_type, "{")
        else:
            line.expect("{")
        self.expected = "return"

    def read_declaration(self, line: _Line) -> None:
        written = line.take("value", "a value such as %x")
        line.expect(":")
        self.declare(written, _read_type(line))

    def read_value(self, line: _Line) -> None:
        """A node, the new value of a state, or the declaration of anything but an input."""
        if line.next[0] == "&" and line.tokens[line.position + 1][1] == "=":
            return self.read_update(line)
        written = line.take("value", "a value such as %0")
        line.expect(":")
        type_ = _read_type(line)
        if line.kind == "end":
            if written[0] == "%":
                raise Error(f"{written} has a type and no `= op(...)`; inputs are in the header")
            return self.declare(written, type_)
        line.expect("=")
        if written[0] != "%":
            raise Error(f"a result is written %0, not {_shortened(written)}")
        return self.define(written, self.read_node(line, written, type_))

    def read_update(self, line: _Line) -> None:
        """The new value of a state."""
        written, state = line.next, self.find(line)
        line.expect("=")
        if state in self.updates:
            raise Error(f"{written} gets two new values")
        self.updates[state] = new = self.find(line)
        if new.type != state.type:
            raise Error(f"{written} is {state.type}, its new value is {new.type}")

    def read_node(self, line: _Line, written: str, type_: TensorType) -> Value:
        op, inputs = self.read_call(line)
        attrs: dict[str, Any] = {}
        if line.accept("{"):
            for name, value in line.listed(_read_attr, "}"):
                if name in attrs or name == "then":
                    raise Error(f"{name} is given twice" if name in attrs
                                else "`then` stands behind the attributes: op(...) then relu")
                attrs[name] = value
        if line.accept("then"):
            calls = [self.read_call(line)]
            while line.accept(","):
                calls.append(self.read_call(line))
            attrs["then"] = tuple(step for step, _ in calls)
            inputs += [operand for _, operands in calls for operand in operands]
        result = self.builder.add(op, *inputs, where=_read_origin(line), **attrs)
        if result.type != type_:
            raise Error(f"{written} is said to be {type_}, but {op} gives {result.type}")
        return result

    def read_requirement(self, line: _Line) -> None:
        left, relation = _read_size(line), line.accept(*RELATIONS)
        if not relation:
            raise line.unexpected(f"one of {' '.join(RELATIONS)}")
        self.builder.require(left, relation, _read_size(line), _read_origin(line))

    def read_reading(self, line: _Line) -> None:
        written = line.take("value", "a parameter such as @x")
        if written[0] != "@":
            raise Error(f"only a parameter is read, not {_shortened(written)}")
        line.expect(":")
        type_ = _read_type(line)
        line.expect("=")
        digest = line.take("string", "the digest of its numbers, in quotes")
        if re.fullmatch('"[0-9a-f]+"', digest) is None:
            raise Error(f"a digest is a number in base 16, not {_shortened(digest)}")
        self.builder.read(Reading(_unquoted(written[1:]), type_, digest.strip('"'),
                                  _read_origin(line)))

    def read_call(self, line: _Line) -> tuple[str, list[Operand]]:
        op = line.take("word", "the name of an op")
        return op, line.listed(self.read_operand, ")") if line.accept("(") else []

    def read_operand(self, line: _Line) -> Operand:
        return self.find(line) if line.kind == "value" else _read_float(line)

    def read_return(self, line: _Line) -> None:
        line.expect("return")
        while line.kind == "value" or self.outputs:
            self.outputs.append(self.find(line))
            if not line.accept(","):
                break
        if [v.type for v in self.outputs] != self.types:
            said = ", ".join(map(str, self.types)) or "nothing"
            got = ", ".join(str(v.type) for v in self.outputs) or "nothing"
            raise Error(f"{self.name} is said to return {said}, but returns {got}")
        for state in (v for v in self.builder.declared if v.kind == "state"):
            if state not in self.updates:
                raise Error(f"the state {name_value(state)} gets no new value")
            self.outputs.append(self.updates[state])
        self.expected = "}"

    def declare(self, written: str, type_: TensorType) -> None:
        if re.fullmatch("%[0-9]+", written):
            raise Error(f'{written} is a result; an input with this name is %"{written[1:]}"')
        kind, name = _KINDS[written[0]], _unquoted(written[1:])
        self.define(written, self.builder.declare(kind, name, type_))

    def define(self, written: str, value: Value) -> None:
        if self.values.setdefault(_key(written), value) is not value:
            raise Error(f"{written} is defined twice")

    def find(self, line: _Line) -> Value:
        written = line.take("value", "a value such as %0")
        if _key(written) not in self.values:
            raise Error(f"{written} is used before it is defined")
        return self.values[_key(written)]


def _key(written: str) -> str:
    """One text for each value, however it is quoted; %0 and the input %"0" are two."""
    if re.fullmatch("%[0-9]+", written):
        return written
    return f"{written[0]}.{_unquoted(written[1:])}"


def parse(text: str) -> Graph:
    """Returns the graph that a text describes; its params have no data yet.

    The type of each result is inferred again and compared with the type in the text.
    Raises ParseError, with the number of the line, where the text is no graph.
    """
    reader, number = _Reader(), 0
    for number, text_line in enumerate(text.splitlines(), 1):
        try:
            reader.read(_Line(text_line))
        except Error as error:
            raise ParseError(f"line {number}: {error}") from None
    if reader.expected:
        raise ParseError(f"line {number + 1}: the text ends where `{reader.expected}` should be")
    return reader.builder.build(reader.name, reader.outputs)


def parse_type(text: str) -> TensorType:
    """Returns the type that a text such as "f32[B, 784]" describes.

    Raises ParseError, whose message shows the grammar, where the text is no type.
    """
    try:
        line = _Line(text)
        result = _read_type(line)
        line.expect_end()
    except Error as error:
        example = "a type is an element type and sizes, such as f32[B, 784] or i64[B, 2*T + 1]"
        raise ParseError(f"{_shortened(text)} is not a type: {error}; {example}") from None
    return result
