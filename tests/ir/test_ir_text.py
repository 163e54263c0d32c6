"""The text: printed and parsed exactly; whatever else comes in ends in a clear error, soon."""
import json
import math
import random
import re
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir import Builder, ParseError, Where, parse, parse_type
from ir.printer import columns, name_values, print_node
from ir.types import same, symbol
from tests.strategies import graphs

TEXT = """graph "an odd name"(%x: f32[B, 64], %ids: i32[B, T]) -> f32[B, 10], f32[B*T, 8] {
  @0.weight:             f32[10, 64]
  @"odd # {\\n} \\" name": f32[10]
  @e:                    f32[100, 8]
  $0:                    f32[8]
  %0: f32[B, 10]   = linear(%x, @0.weight, @"odd # {\\n} \\" name") then relu, mul(-0.5)  # 0 Linear
  %1: f32[B, T, 8] = embedding(%ids, @e)                                                # "\\"#  "   a b.py:4
  %2: f32[B*T, 8]  = reshape(%1) {shape = [B*T, 8]}                                     # ""        a.py:5
  %3: f32[B*T, 8]  = softmax(%2) {axis = 1, scale = inf} then add($0), sub(1e-05)
  return %0, %3
}"""  # noqa: E501


def test_round_trip() -> None:
    graph = parse(TEXT)
    ir.verify(graph)
    assert str(graph) == TEXT
    assert [n.where for n in graph.nodes] == [
        Where("0 Linear"), Where('"#  ', "a b.py:4"), Where("", "a.py:5"), Where()]
    assert graph.params[1].name == 'odd # {\n} " name'
    assert [v.kind for v in graph.params] == ["parameter"] * 3 + ["constant"]
    assert same(graph.nodes[2].attrs["shape"], (symbol("B") * symbol("T"), 8))
    assert graph.nodes[3].attrs == {"axis": 1, "scale": math.inf, "then": ("add", "sub")}


WIDE = """graph wide(%x: f32[B, 4], %ids: i64[T], %m: bool[B, 4], %at: i32[T]) -> f32[B, 4] {
  @w: f32[9, 4]
  $0: i8[3]
  $1: u8[2]
  %0: i64[B, 4]     = iota {shape = [B, 4], axis = 1, dtype = i64}
  %1: f32[B, 4]     = full(-inf) {shape = [B, 4], dtype = f32} then add(0.5)
  %2: f32[B, 4]     = where(%m, %x, -inf) then softplus(1.0, 20.0), mul(%1)
  %3: f32[B, 4]     = slice(%2) {axis = 0, start = B - 1, stop = -1, step = -1}
  %4: f32[B, 9]     = pad(%3) {low = [0, 2], high = [0, 3], value = -1e-05}
  %5: i64[B, 2]     = topk_ids(%4) {axis = 1, k = 2, largest = true, sorted = false}
  %6: f32[B, 2]     = take_along(%4, %5) {axis = 1}
  %7: f32[T - 1, 4] = embedding_bag(%ids, %at, @w) {mode = max, include_last = true, padding = -1}
  %8: bool[B, 4]    = cast(%x) {dtype = bool} then logical_or(%m)
  %9: i64[B]        = argmax(%x) {axis = 1, keepdims = false}
  return %3
}"""


def test_every_form_of_attribute_round_trips() -> None:
    graph = parse(WIDE)
    ir.verify(graph)
    assert str(graph) == WIDE
    attrs = [node.attrs for node in graph.nodes]
    assert attrs[0]["dtype"] == "i64" and attrs[7]["mode"] == "max"
    assert attrs[3]["step"] == -1 and attrs[3]["stop"] == -1 and attrs[4]["value"] == -1e-05


def test_what_has_a_default_need_not_be_written() -> None:
    text = ("graph g(%x: f32[8]) -> f32[2] {{\n"
            "  %0: f32[2] = slice(%x) {{axis = 0, {}}}\n"
            "  return %0\n}}")
    short, long = (text.format(a) for a in ("start = 1, stop = 3", "start = 1, stop = 3, step = 1"))
    assert str(parse(short)) == str(parse(long)) == long


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_random_graphs_round_trip(graph: ir.Graph) -> None:
    again = parse(str(graph))
    ir.verify(again)
    assert str(again) == str(graph)
    assert [n.where for n in again.nodes] == [n.where for n in graph.nodes]


@given(st.lists(st.text(), min_size=6, max_size=6), st.floats())
def test_any_names_and_numbers_round_trip(names: list[str], number: float) -> None:
    graph, entry, param, constant, layer, line = names
    builder = Builder()
    x = builder.declare("input", entry, parse_type("f32[B]"))
    p = builder.declare("parameter", param, parse_type("f32[]"))
    c = builder.declare("constant", constant, parse_type("f32[1]"))
    y = builder.add("add", x, number, p, where=Where(layer, line), then=("mul",))
    before = builder.build(graph, [y, c, x])
    ir.verify(before)
    text = str(before)
    after = parse(text)
    assert str(after) == text and text.isprintable() is False      # only because of its line ends
    assert text.replace("\n", "").isprintable() and len(text.split("\n")) == len(text.splitlines())
    assert [after.name, *(v.name for v in (*after.inputs, *after.params))] == names[:4]
    assert after.nodes[0].where == before.nodes[0].where
    assert repr(after.nodes[0].inputs[1]) == repr(number)
    assert [v.kind for v in after.outputs] == ["result", "constant", "input"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-05, 5e-324, 1e22])
def test_special_numbers(number: float) -> None:
    builder = Builder()
    x = builder.declare("input", "x", parse_type("f32[]"))
    graph = builder.build("g", [builder.add("softmax", builder.add(
        "reshape", builder.add("add", x, number), shape=(1,)), axis=0, scale=number)])
    again = parse(str(graph))
    assert str(again) == str(graph)
    assert repr(again.nodes[0].inputs[1]) == repr(again.nodes[2].attrs["scale"]) == repr(number)


def test_an_empty_graph() -> None:
    text = "graph empty() {\n  return\n}"
    assert str(parse(text)) == text and str(Builder().build("empty", [])) == text
    ir.verify(parse(text))


def test_an_output_may_be_an_input_a_param_or_twice_the_same() -> None:
    text = ("graph g(%x: f32[B]) -> f32[B], f32[3], f32[B] {\n"
            "  @w: f32[3]\n"
            "  return %x, @w, %x\n}")
    assert str(parse(text)) == text


def test_an_input_named_like_a_result() -> None:
    builder = Builder()
    x = builder.declare("input", "0", parse_type("f32[B]"))
    graph = builder.build("g", [builder.add("exp", builder.add("tanh", x))])
    ir.verify(graph)
    assert '%0: f32[B] = tanh(%"0")' in str(graph)
    assert str(parse(str(graph))) == str(graph)
    with pytest.raises(ParseError, match='%0 is a result; an input with this name is %"0"'):
        parse("graph g(%0: f32[B]) {\nreturn\n}")


def test_written_by_hand() -> None:
    graph = parse("""

        # a comment of its own
        graph  g ( %x : f32 [ B,4 ] , ) -> f32[B,  4]{
        """.replace(" , )", ")") + """
        %hidden: f32[B, 4] = add( %x,2 ) {  } then   mul(%x), relu
        %"y": f32[B, 4] = sub(-1, %hidden)
          return %y
        }
        # the end
    """)
    assert str(graph) == (
        "graph g(%x: f32[B, 4]) -> f32[B, 4] {\n"
        "  %0: f32[B, 4] = add(%x, 2.0) then mul(%x), relu\n"
        "  %1: f32[B, 4] = sub(-1.0, %0)\n"
        "  return %1\n}")
    assert str(parse(str(graph).replace("\n", "\r\n"))) == str(graph)


def test_an_illegal_graph_prints_too() -> None:
    graph = parse("graph g(%x: f32[B]) -> f32[B] {\n%0: f32[B] = add(%x, %x)\nreturn %0\n}")
    stranger = ir.Value(parse_type("f32[B]"))
    [node] = graph.nodes
    wrong = replace(node, inputs=(stranger, node.inputs[0]), op="sine", attrs={"then": ("cosine",)})
    text = str(replace(graph, nodes=(wrong,), outputs=(stranger,)))
    assert "%0: f32[B] = sine(%?, %x) {then = [cosine]}" in text and "return %?" in text
    assert print_node(node, name_values(graph)) == "%0: f32[B] = add(%x, %x)"


def test_columns() -> None:
    assert columns([]) == []
    assert columns([["a", "b"], ["ccc"], ["", "d"]]) == ["a   b", "ccc", "    d"]
    long = "x" * 121
    assert columns([[long, "1"], ["a", "2"]]) == [f"{long} 1", "a 2"]


# -- errors ----------------------------------------------------------------------------------------

BODY = [
    ("%0: f32[B] = tanh(%y)", "%y is used before it is defined"),
    ("%0: f32[2] = tanh(%x)", "%0 is said to be f32[2], but tanh gives f32[B]"),
    ("%0: f32[b] = tanh(%x)", "'b' cannot name a size: a capitalised word such as B or Batch can"),
    ("%0: f16[B] = tanh(%x)", "there is no element type 'f16', only f32, f64, i8, u8, i32, i64"),
    ("%0: f32[B] = sine(%x)", "there is no op named sine"),
    ("%0: f32[B] = tanh(%x, %x)", "tanh takes 1 operand, not 2"),
    ("%0: f32[B] = tanh(%x) then sum", "sum is not elementwise"),
    ("%0: f32[B] = tanh(%x) then", "expected the name of an op, got nothing"),
    ("%0: f32[B] = softmax(%x) {axis = 1, scale = 1.0}", "f32[B] has no axis 1"),
    ("%0: f32[B] = softmax(%x) {axis = 0}", "softmax has the attributes axis, scale, not axis"),
    ("%0: f32[B] = softmax(%x) {axis = 0, axis = 0}", "axis is given twice"),
    ("%0: f32[B] = softmax(%x) {axis = 0 scale = 1.0}", "expected ',' or '}', got 'scale'"),
    ("%0: f32[B] = softmax(%x) {axis = 0, scale = [1]}", "scale of softmax is a number, not (1,)"),
    ("%0: f32[B] = softmax(%x) {axis = b, scale = 1.0}", "axis of softmax is an integer, not 'b'"),
    ("%0: f32[B] = cast(%x) {dtype = f16}", "dtype of cast is an element type: f32, f64, i8, u8"),
    ("%0: f32[B] = cast(%x) {dtype = F32}", "dtype of cast is an element type"),
    ('%0: f32[B] = cast(%x) {dtype = "f32"}', """expected a size: a number, a capitalised name"""),
    ("%0: f32[B] = cast(%x) {dtype = -f32}", "'f32' cannot name a size"),
    ("%0: i64[B] = add(%x, 1.0) then cast", "cast has attributes, so it cannot stand behind"),
    ("%0: f32[3] = full(nan) {shape = [3], dtype = i8}", "the number nan cannot be i8"),
    ("%0: f32[3] = iota(1.0) {shape = [3], axis = 0, dtype = i8}", "iota takes 0 operand, not 1"),
    ("%0: f32[B] = softmax(%x) {axis = [0", "expected ',' or ']', got nothing"),
    ("%0: f32[B] = tanh(%x) {then = [1]}", "`then` stands behind the attributes"),
    ("%0: f32[B] = tanh(%x) {= 1}", "expected the name of an attribute, got '='"),
    ("%0: f32[B] = reshape(%x) {shape = [[B]]}", "expected a size: a number, a capitalised name"),
    ("%0: f32[B] = tanh(%x", "expected ',' or ')', got nothing"),
    ("%0: f32[B] = tanh(tanh(%x))", "expected an operand: a value such as %x or a number"),
    ("%0: f32[B] = tanh(-%x)", "expected an operand: a value such as %x or a number, got '%x'"),
    ("%0: f32[B] = tanh(%x) %x", "expected the end of the line, got '%x'"),
    ("%0: f32[B] = ", "expected the name of an op, got nothing"),
    ("%0: f32[B] tanh(%x)", "expected '=', got 'tanh'"),
    ("%0 = tanh(%x)", "expected ':', got '='"),
    ("%0: f32[B]", "%0 has a type and no `= op(...)`"),
    ("%y: f32[B]", "%y has a type and no `= op(...)`; inputs are in the header"),
    ("@0: f32[B] = tanh(%x)", "a result is written %0, not '@0'"),
    ("@w", "expected ':', got nothing"),
    ("@w: f32", "expected '[', got nothing"),
    ("@w: f32[3", "expected ',' or ']', got nothing"),
    ("@w: f32[3] 4", "expected '=', got '4'"),
    ("@w: f32[-3]", "-3 is no size of an axis"),
    ("@w: f32[B-3*]", "expected a size"),
    ("@w: f32[1.5]", "expected a size: a number, a capitalised name, or such as 2*B + 1"),
    (f"@w: f32[{'9' * 5000}]", "the number '99999"),
    ("@w: f32[9999999999999999999]", "a number in a size is too large"),
    (f"@w: f32[{', '.join('1' * 65)}]", "a shape has at most 64 axes, not 65"),
    ("%x: f32[B] = tanh(%x)", "%x is defined twice"),
    ("import os", "expected a declaration, `require`, `read`, a node or `return`, got 'import'"),
    ("graph h() {", "expected a declaration, `require`, `read`, a node or `return`, got 'graph'"),
    ("return %x", "g is said to return f32[B], f32[B], but returns f32[B]"),
    ("return", "but returns nothing"),
    ("return %x,", "expected a value such as %0, got nothing"),
    ("return %x %x", "but returns f32[B]"),
    ('@"a: f32[3]', """cannot read '@"a: f32[3]'"""),
    ('@"\\q": f32[3]', "is not a JSON string"),
    ('@"a\tb": f32[3]', "is not a JSON string"),
    ("@w: f32[3] = ;", "cannot read ';'"),
    ("%0: f32[B] = tanh(%x) # a # b", "a comment is `# layer  line`"),
    ('%0: f32[B] = tanh(%x) # "a', "a comment is `# layer  line`"),
]


@pytest.mark.parametrize("line, message", BODY)
def test_errors_name_the_line_and_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(ParseError) as error:
        parse(f"graph g(%x: f32[B]) -> f32[B], f32[B] {{\n\n  {line}\n  return %0, %x\n}}")
    assert str(error.value).startswith("line 3: ") and message in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("text, message", [
    ("", "line 1: the text ends where `graph` should be"),
    ("hello", "line 1: expected `graph name(%input: type, ...) -> type, ... {`, got 'hello'"),
    ("graph", "line 1: expected the name of the graph, got nothing"),
    ("graph 2(", "line 1: expected the name of the graph, got '2'"),
    ("graph g(%x: f32[B]) -> f32[B]", "line 1: expected ',' or '{', got nothing"),
    ("graph g(%x) {", "line 1: expected ':', got ')'"),
    ("graph g(x: f32[B]) {", "line 1: expected a value such as %x, got 'x'"),
    ("graph g(%x: f32[B], %x: f32[B]) {", "line 1: there are two inputs named 'x'"),
    ("graph g() {\n", "line 2: the text ends where `return` should be"),
    ("graph g() {\nreturn\n", "line 3: the text ends where `}` should be"),
    ("graph g() {\nreturn\nreturn\n", "line 3: expected `}`, got 'return'"),
    ("graph g() {\nreturn\n}\n}", "line 4: expected nothing more, got '}'"),
    ("graph g() {\nreturn\n} }", "line 3: expected the end of the line, got '}'"),
    ("graph g() {\n}",
     "line 2: expected a declaration, `require`, `read`, a node or `return`, got '}'"),
])
def test_errors_of_the_frame(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=f"^{re.escape(message)}$"):
        parse(text)


@pytest.mark.parametrize("text, shown", [
    ("f32[B, 784]", "f32[B, 784]"), (" f64 [ ] ", "f64[]"), ("i64[B,T]", "i64[B, T]"),
    ("i32[2*B*T - 1 + T*3, 0]", "i32[2*B*T + 3*T - 1, 0]"), ("f32[B - B + 4]", "f32[4]"),
    ("f32[-1*-1]", None), ("f32[-B + 2*4*B]", "f32[7*B]"), ("f32[Batch_2]", "f32[Batch_2]"),
])
def test_types(text: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(ParseError):
            parse_type(text)
    else:
        assert str(parse_type(text)) == shown


@pytest.mark.parametrize("text", [
    "", "f32", "float32[B]", "f32[b]", "f32[B", "f32[B,]", "f32[,]", "f32[B]]", "f32[B T]", "[3]",
    "f32[B/2]", "f32[2**B]", "f32[(B)]", "f32[True]", "f32[1e3]", "f32[-1]", "f32[B]\n", "F32[B]",
    "f32[__import__('os')]", 'f32["B"]', "f32(B)", "f32[%x]", "\x00", "f32[B] # a comment",
])
def test_what_is_no_type_shows_what_is(text: str) -> None:
    if text == "f32[B]\n":
        assert parse_type(text).ndim == 1        # white space at the end does no harm
        return
    with pytest.raises(ParseError, match=r"is not a type: .*such as f32"):
        parse_type(text)


# -- text from anywhere ----------------------------------------------------------------------------

PIECES = [*string.printable, "graph g(", "%x", "@w", "$0", "f32[B]", " = ", "tanh(", "{", "}", "->",
          "return ", "\n", "then ", '"', "\\", "# ", "1e5", "inf", "  ", "\u2028", "\x00", "é", "٣"]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for source in (text, f"graph g(%x: f32[B]) -> f32[B] {{\n{text}\nreturn %x\n}}"):
        try:
            graph = parse(source)
        except ParseError:
            continue
        assert str(parse(str(graph))) == str(graph)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from(PIECES))
def test_a_damaged_text_parses_or_is_refused(place: int, piece: str) -> None:
    lines = TEXT.splitlines()
    place %= len(TEXT)
    for text in (TEXT[:place] + piece + TEXT[place:], TEXT[:place] + piece + TEXT[place + 1:],
                 "\n".join(lines[:place % len(lines)] + lines[place % len(lines) + 1:])):
        try:
            graph = parse(text)
        except ParseError as error:
            assert str(error).startswith("line ")
            continue
        assert str(parse(str(graph))) == str(graph)


def header(name: str = "g", inside: str = "") -> str:
    return f"graph {name}(%x: f32[B]) -> f32[B] {{\n{inside}\nreturn %x\n}}"


HOSTILE: dict[str, Any] = {
    "open quotes": lambda n: header('"' + '\\"' * n),
    "quotes": lambda n: header('"' * n),
    "brackets": lambda n: header(inside="[" * n),
    "parentheses": lambda n: header(inside="%0: f32[B] = tanh" + "(" * n),
    "a long name": lambda n: header(f'"{"a" * n}"'),
    "a long word": lambda n: header(inside="a" * n),
    "a long number": lambda n: header(inside=f"%0: f32[B] = add(%x, {'1' * n})"),
    "a long fraction": lambda n: header(inside=f"%0: f32[B] = add(%x, 1.{'1' * n}x)"),
    "digits": lambda n: header(inside=f"@w: f32[{'1' * n}]"),
    "minus signs": lambda n: header(inside=f"%0: f32[B] = add(%x, {'-' * n}1)"),
    "a sum": lambda n: header(inside=f"@w: f32[{'+'.join('B' * n)}]"),
    "a product": lambda n: header(inside=f"@w: f32[{'*'.join('B' * n)}]"),
    "a product of numbers": lambda n: header(inside=f"@w: f32[{'*'.join('9' * n)}]"),
    "many names": lambda n: header(inside=f"@w: f32[{'+'.join(f'B{i}' for i in range(n // 5))}]"),
    "many axes": lambda n: header(inside=f"@w: f32[{', '.join('1' * n)}]"),
    "a comment": lambda n: header(inside="%0: f32[B] = tanh(%x) # " + "a " * n + "!"),
    "a wide comment": lambda n: header(inside="%0: f32[B] = tanh(%x) # a" + " " * n + "!"),
    "spaces": lambda n: header(inside=" " * n + ";"),
    "many steps": lambda n: header(inside="%0: f32[B] = tanh(%x) then " + ", ".join(
        ["tanh"] * (n // 10))),
    "many operands": lambda n: header(
        inside=f"%0: f32[B] = concat({', '.join(['%x'] * (n // 4))})"),
    "many lines": lambda n: header(inside="\n".join(f"@p{i}: f32[3]" for i in range(n // 20))),
    "many nodes": lambda n: header(inside="\n".join(
        f"%{i}: f32[B] = tanh(%x)" for i in range(n // 30))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_ends(name: str) -> None:
    """Soon: what takes quadratic time, or a frame of the stack for each character, would not."""
    try:
        str(parse(HOSTILE[name](100_000)))
    except ParseError as error:
        assert len(str(error)) < 300


def test_a_product_of_shapes_cannot_explode() -> None:
    sums = ", ".join("+".join(f"A{i}_{j}" for j in range(8)) for i in range(20))
    with pytest.raises(ParseError, match="too complicated"):
        parse(f"graph g(%x: f32[{sums}]) -> f32[1] {{\n%0: f32[1] = reshape(%x) {{shape = [1]}}\n"
              "return %0\n}")


def test_a_text_runs_nothing() -> None:
    code = "__import__('os').abort()"
    for text in (header(code), header(inside=code), header(inside=f"@w: f32[{code}]"),
                 header(inside=f"%0: f32[B] = add(%x, {code})"),
                 header(inside=f"%0: f32[B] = sum(%x) {{axes = {code}, keepdims = {code}}}")):
        with pytest.raises(ParseError):
            parse(text)
    graph = parse(header(json.dumps(code), f"@{json.dumps(code)}: f32[3]"))
    assert graph.params[0].name == code


def test_a_random_permutation_of_lines() -> None:
    lines = TEXT.splitlines()
    for seed in range(50):
        random.Random(seed).shuffle(lines)
        try:
            parse("\n".join(lines))
        except ParseError as error:
            assert str(error).startswith("line ")
