"""The text form, printed and parsed; parse(str(graph)) prints the same text again.

    graph Block(%x: f32[B, 64]) -> f32[B, 64] {
      @fc.weight: f32[64, 64]                                        a parameter; $0 is a constant
      %0: f32[B, 64] = linear(%x, @fc.weight) then relu, mul(0.5)    # fc Linear  block.py:3
      return %0
    }

The grammar is in README.md.  A text may come from anywhere: reading it takes time and memory in
proportion to its length, runs nothing, and ends in a graph or in a ParseError with the line.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ir.builder import Builder
from ir.graph import SIGILS, Graph, Node, Operand, Value, Where
from ir.ops import split_then
from ir.types import (
    DTYPES,
    MAX_COEFFICIENT,
    Dim,
    Error,
    TensorType,
    Term,
    polynomial,
    symbol,
)

KINDS = {"%": "input", "@": "parameter", "$": "constant"}

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'             # a JSON string
WORD = r"[^\W0-9][\w.]*"
PLACE = r"[\w.:/\\<>()-]+(?:,? [\w.:/\\<>()-]+)*"    # a layer or a line that needs no quotes

TOKEN = re.compile(rf"""\s*(?:
    (?P<value>  [%@$](?:[\w.]+|{STRING}) )
  | (?P<string> {STRING} )
  | (?P<float>  [0-9]+(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)(?![\w.]) )
  | (?P<int>    [0-9]+(?![\w.]) )
  | (?P<word>   {WORD} )
  | (?P<comment>[#].* )
  | (?P<mark>   ->|[][(){{}}:,=*+-] )
  | (?P<end>    $ )
)""", re.VERBOSE)

COMMENT = re.compile(rf"# *({STRING}|{PLACE})(?: {{2,}}({STRING}|{PLACE}))? *")

MAX_DIGITS = 19                                  # of a number in a size: 64 bits


class ParseError(Error):
    """The text is not a graph or a type; says where and why."""


# -- print -----------------------------------------------------------------------------------------

def print_graph(graph: Graph) -> str:
    """The text of a graph; an illegal one prints too, an undefined value as %?."""
    names = name_values(graph)
    inputs = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    types = ", ".join(str(v.type) for v in graph.outputs)
    returned = ", ".join(names.get(v, "%?") for v in graph.outputs)
    lines = columns([f"{names[v]}:", str(v.type)] for v in graph.params)
    lines += columns([f"{names[n.result]}: {n.result.type}", f"= {print_call(n, names)}",
                      *print_where(n.where)] for n in graph.nodes)
    head = f"graph {quoted(graph.name, WORD)}({inputs})" + f" -> {types}" * bool(types)
    return "\n  ".join([f"{head} {{", *lines, f"return {returned}".rstrip()]) + "\n}"


def name_values(graph: Graph) -> dict[Value, str]:
    """What each value is called in the text: a result by its place in the list of nodes."""
    named = {v: name_value(v) for v in graph.inputs + graph.params}
    return named | {node.result: f"%{i}" for i, node in enumerate(graph.nodes)}


def name_value(value: Value) -> str:
    """What an input, a parameter or a constant is called in the text."""
    return SIGILS[value.kind] + quoted(value.name, plain_name(value))


def plain_name(value: Value) -> str:
    """An input's name must not look like a result's number."""
    return r"(?![0-9]+$)[\w.]+" if SIGILS[value.kind] == "%" else r"[\w.]+"


def print_node(node: Node, names: Mapping[Value, str]) -> str:
    """The line of one node."""
    left = f"{names.get(node.result, '%?')}: {node.result.type} = {print_call(node, names)}"
    return " ".join([left, *print_where(node.where)])


def print_call(node: Node, names: Mapping[Value, str]) -> str:
    """The right-hand side of a node's line: `linear(%x, @w) then relu, add(%0)`."""
    def call(op: str, operands: Sequence[Operand]) -> str:
        inside = ", ".join(names.get(o, "%?") if isinstance(o, Value) else repr(o)
                           for o in operands)
        return f"{op}({inside})" if operands else op

    head, own, steps = parts(node)
    then = ", ".join(call(*step) for step in steps)
    attrs = ", ".join(f"{k} = {print_attr(v)}" for k, v in own.items())
    return call(node.op, head) + f" {{{attrs}}}" * bool(attrs) + f" then {then}" * bool(then)


def parts(node: Node) -> tuple[Sequence[Operand], Mapping[str, Any],
                               Sequence[tuple[str, Sequence[Operand]]]]:
    try:
        return split_then(node.op, node.inputs, node.attrs)
    except Error:                                # an illegal `then` is shown as any attribute is
        return node.inputs, node.attrs, []


def print_where(where: Where) -> list[str]:
    if where == Where():
        return []
    layer = f" # {quoted(where.layer, PLACE)}"
    return [layer, f" {quoted(where.line, PLACE)}"] if where.line else [layer]


def print_attr(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(print_attr, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def quoted(name: str, plain: str) -> str:
    """The name as it is, or as a JSON string in ASCII, so that nothing in it breaks a line."""
    return name if re.fullmatch(plain, name) else json.dumps(name)


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines whose cells stand under each other.  A very long cell does not move the others."""
    rows = list(rows)
    widths = [max((len(row[i]) for row in rows if i < len(row) and len(row[i]) <= 120), default=0)
              for i in range(max(map(len, rows), default=0))]
    return [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


# -- read a line -----------------------------------------------------------------------------------

class Line:
    """The tokens of one line and a place among them."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []  # (group of TOKEN, text)
        self.place = 0
        at = 0
        while not self.tokens or self.tokens[-1][0] != "end":
            if (match := TOKEN.match(text, at)) is None:
                raise Error(f"cannot read {shortened(text[at:].strip())}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    @property
    def next(self) -> str:
        return self.tokens[self.place][1]

    @property
    def kind(self) -> str:
        return self.tokens[self.place][0]

    def take(self, kind: str, meaning: str) -> str:
        """The next token, which has to be of this kind."""
        if self.kind != kind:
            raise self.unexpected(meaning)
        self.place += 1
        return self.tokens[self.place - 1][1]

    def accept(self, *texts: str) -> str:
        """The next token if it is one of these, else an empty text."""
        if self.kind not in ("mark", "word") or self.next not in texts:
            return ""
        self.place += 1
        return self.tokens[self.place - 1][1]

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.unexpected(f"{text!r}")

    def expect_end(self) -> None:
        if self.kind != "end":
            raise self.unexpected("the end of the line")

    def unexpected(self, meaning: str) -> Error:
        return Error(f"expected {meaning}, got {shortened(self.next) if self.next else 'nothing'}")

    def listed(self, element: Callable[[Line], Any], closing: str) -> list[Any]:
        """Elements between commas, up to the closing mark."""
        if self.accept(closing):
            return []
        elements = [element(self)]
        while not self.accept(closing):
            if not self.accept(","):
                raise self.unexpected(f"',' or {closing!r}")
            elements.append(element(self))
        return elements


def shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def unquoted(name: str) -> str:
    if not name.startswith('"'):
        return name
    try:
        return str(json.loads(name))
    except ValueError:
        raise Error(f"{shortened(name)} is not a JSON string") from None


def read_type(line: Line) -> TensorType:
    dtype = line.take("word", f"a type: {', '.join(DTYPES)} and a shape")
    if dtype not in DTYPES:
        raise Error(f"there is no element type {shortened(dtype)}, only {', '.join(DTYPES)}")
    line.expect("[")
    return TensorType(dtype, tuple(line.listed(read_size, "]")))


def read_size(line: Line) -> Dim:
    """A sum of products: 2*B*T - B + 1."""
    summands = [read_product(line, line.accept("-"))]
    while sign := line.accept("+", "-"):
        summands.append(read_product(line, sign))
    return polynomial(summands)


def read_product(line: Line, sign: str) -> Term:
    names, coefficient = [], -1 if sign == "-" else 1
    while True:
        if line.kind == "int":
            coefficient *= read_int(line)
        else:
            name = line.take("word", "a size: a number, a capitalised name, or such as 2*B + 1")
            names += [n for (n,), _ in symbol(name).terms]
        if abs(coefficient) > MAX_COEFFICIENT:
            raise Error("a number in a size is too large")
        if not line.accept("*"):
            return tuple(names), coefficient


def read_int(line: Line) -> int:
    if len(line.next) > MAX_DIGITS:              # int() itself would refuse a very long one
        raise Error(f"the number {shortened(line.next)} is too large")
    return int(line.take("int", "an integer"))


def is_float(line: Line) -> bool:
    """Whether a float comes next, behind a sign or not."""
    kind, text = line.tokens[line.place + (line.next == "-")]
    return kind == "float" or text in ("inf", "nan")


def read_float(line: Line) -> float:
    sign = line.accept("-")
    if line.kind not in ("int", "float") and line.next not in ("inf", "nan"):
        raise line.unexpected("an operand: a value such as %x or a number")
    line.place += 1
    return float(sign + line.tokens[line.place - 1][1])


def read_attr(line: Line) -> tuple[str, Any]:
    name = line.take("word", "the name of an attribute")
    line.expect("=")
    if line.accept("["):
        return name, tuple(line.listed(read_size, "]"))
    if word := line.accept("true", "false"):
        return name, word == "true"
    if re.fullmatch(WORD, line.next) and not is_float(line) and not line.next[0].isupper():
        return name, line.take("word", "a word")
    return name, read_float(line) if is_float(line) else read_size(line)


def read_where(comment: str) -> Where:
    if (match := COMMENT.fullmatch(comment)) is None:
        raise Error(f"a comment is `# layer  line`, odd ones as JSON, not {shortened(comment)}")
    return Where(unquoted(match[1]), unquoted(match[2] or ""))


# -- read a graph ----------------------------------------------------------------------------------

class Reader:
    """Reads a graph line by line: the header, declarations and nodes, the return, the brace."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.values: dict[str, Value] = {}
        self.name = ""
        self.types: list[TensorType] = []        # of the outputs, as the header says
        self.outputs: list[Value] = []
        self.expected = "graph"                  # then "return", "}", "" for nothing more

    def read(self, line: Line) -> None:
        if line.kind == "end" or line.kind == "comment":
            return                               # a line of its own, for the reader
        if self.expected == "graph":
            self.read_header(line)
        elif self.expected == "return" and line.kind == "value":
            self.read_value(line)
        elif self.expected == "return" and line.next == "return":
            self.read_return(line)
        elif self.expected == "}" and line.accept("}"):
            self.expected = ""
        else:
            wanted = {"return": "a declaration, a node or `return`", "": "nothing more"}
            raise line.unexpected(wanted.get(self.expected, f"`{self.expected}`"))
        line.expect_end()

    def read_header(self, line: Line) -> None:
        if not line.accept("graph"):
            raise line.unexpected("`graph name(%input: type, ...) -> type, ... {`")
        name = "string" if line.kind == "string" else "word"
        self.name = unquoted(line.take(name, "the name of the graph"))
        line.expect("(")
        line.listed(self.read_declaration, ")")
        if line.accept("->"):
            self.types = line.listed(read_type, "{")
        else:
            line.expect("{")
        self.expected = "return"

    def read_declaration(self, line: Line) -> None:
        written = line.take("value", "a value such as %x")
        line.expect(":")
        self.declare(written, read_type(line))

    def read_value(self, line: Line) -> None:
        """A node, or the declaration of a parameter or constant."""
        written = line.take("value", "a value such as %0")
        line.expect(":")
        type_ = read_type(line)
        if line.kind == "end":
            if written[0] == "%":
                raise Error(f"{written} has a type and no `= op(...)`; inputs are in the header")
            return self.declare(written, type_)
        line.expect("=")
        if written[0] != "%":
            raise Error(f"a result is written %0, not {shortened(written)}")
        return self.define(written, self.read_node(line, written, type_))

    def read_node(self, line: Line, written: str, type_: TensorType) -> Value:
        op, inputs = self.read_call(line)
        attrs: dict[str, Any] = {}
        if line.accept("{"):
            for name, value in line.listed(read_attr, "}"):
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
        where = Where()
        if line.kind == "comment":
            where = read_where(line.take("comment", "a comment").rstrip())
        result = self.builder.add(op, *inputs, where=where, **attrs)
        if result.type != type_:
            raise Error(f"{written} is said to be {type_}, but {op} gives {result.type}")
        return result

    def read_call(self, line: Line) -> tuple[str, list[Operand]]:
        op = line.take("word", "the name of an op")
        return op, line.listed(self.read_operand, ")") if line.accept("(") else []

    def read_operand(self, line: Line) -> Operand:
        return self.find(line) if line.kind == "value" else read_float(line)

    def read_return(self, line: Line) -> None:
        line.expect("return")
        while line.kind == "value" or self.outputs:
            self.outputs.append(self.find(line))
            if not line.accept(","):
                break
        if [v.type for v in self.outputs] != self.types:
            said = ", ".join(map(str, self.types)) or "nothing"
            got = ", ".join(str(v.type) for v in self.outputs) or "nothing"
            raise Error(f"{self.name} is said to return {said}, but returns {got}")
        self.expected = "}"

    def declare(self, written: str, type_: TensorType) -> None:
        if re.fullmatch("%[0-9]+", written):
            raise Error(f'{written} is a result; an input with this name is %"{written[1:]}"')
        kind, name = KINDS[written[0]], unquoted(written[1:])
        self.define(written, self.builder.declare(kind, name, type_))

    def define(self, written: str, value: Value) -> None:
        if self.values.setdefault(key(written), value) is not value:
            raise Error(f"{written} is defined twice")

    def find(self, line: Line) -> Value:
        written = line.take("value", "a value such as %0")
        if key(written) not in self.values:
            raise Error(f"{written} is used before it is defined")
        return self.values[key(written)]


def key(written: str) -> str:
    """One text for each value, however it is quoted; %0 and the input %"0" are two."""
    return written if re.fullmatch("%[0-9]+", written) else written[0] + "." + unquoted(written[1:])


def parse(text: str) -> Graph:
    """The graph of a text; its params have no data yet.

    Each line's types are inferred again and compared.  Raises ParseError, with the line's number.
    """
    reader, number = Reader(), 0
    for number, text_line in enumerate(text.splitlines(), 1):
        try:
            reader.read(Line(text_line))
        except Error as error:
            raise ParseError(f"line {number}: {error}") from None
    if reader.expected:
        raise ParseError(f"line {number + 1}: the text ends where `{reader.expected}` should be")
    return reader.builder.build(reader.name, reader.outputs)


def parse_type(text: str) -> TensorType:
    """The type of a text such as "f32[B, 784]".  Raises ParseError, which shows the grammar."""
    try:
        line = Line(text)
        result = read_type(line)
        line.expect_end()
    except Error as error:
        example = "a type is an element type and sizes, such as f32[B, 784] or i64[B, 2*T + 1]"
        raise ParseError(f"{shortened(text)} is not a type: {error}; {example}") from None
    return result
