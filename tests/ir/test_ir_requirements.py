"""What a graph requires of the sizes of a call: as text, verified, kept by passes, and checked."""
from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from ir.check import PassError, check_same
from ir.graph import RELATIONS
from ir.records import replace
from nncompile.backend import CallSpec
from nncompile.schedule import schedule

TEXT = """\
graph g(%x: f32[B, T]) -> f32[B, T] {
  require T <= 4    # 0 Block  gpt.py:12
  require B*T != 6
  require 2*B >= T
  %0: f32[B, T] = exp(%x)
  return %0
}"""


def test_the_text_is_read_back() -> None:
    graph = ir.parse(TEXT)
    ir.verify(graph)
    assert str(graph) == TEXT and str(ir.parse(str(graph))) == TEXT
    assert graph.requirements[0].where == ir.Where("0 Block", "gpt.py:12")


@pytest.mark.parametrize(("line", "message"), [
    ("require T", "expected one of == != < <= > >=, got nothing"),
    ("require T = 4", "expected one of == != < <= > >=, got '='"),
    ("require T <= 4 5", "expected the end of the line, got '5'"),
    ("require <= 4", "expected a size: a number, a capitalised name"),
])
def test_an_illegal_text(line: str, message: str) -> None:
    with pytest.raises(ir.ParseError, match=f"line 2: {message}"):
        ir.parse(TEXT.replace("require T <= 4    # 0 Block  gpt.py:12", line))


def test_an_unknown_size_and_an_unknown_relation() -> None:
    graph = ir.parse(TEXT.replace("B*T", "B*S"))
    with pytest.raises(ir.VerifyError, match=r"the size S is not a size of any input\n  require"):
        ir.verify(graph)
    with pytest.raises(ir.Error, match="compared by == != < <= > >=, not by <>"):
        ir.Builder().require(1, "<>", 2)


def test_a_pass_keeps_requirements() -> None:
    graph = ir.parse(TEXT)
    assert ir.run([ir.FoldConstants(), ir.CSE(), ir.DCE()], graph).requirements == \
        graph.requirements
    with pytest.raises(ir.VerifyError, match="it requires nothing, not T <= 4, B"):
        ir.verify(replace(graph, requirements=()), like=graph)
    with pytest.raises(PassError, match="illegal graph"):
        check_same("dropping", graph, replace(graph, requirements=()))


def test_a_graph_for_one_size_is_checked_at_that_size() -> None:
    before = ir.parse(TEXT.replace("T <= 4 ", "T == 37 ").replace("2*B >= T", "T > B")
                      .replace("gpt.py:12\n", "gpt.py:12\n  require B == 5\n"))
    after = ir.parse(str(before).replace("exp", "exp2"))
    check_same("nothing", before, ir.parse(str(before)))
    with pytest.raises(PassError, match="changed output 0"):
        check_same("wrong", before, after)
    assert ir.interpret(before, [np.zeros((5, 37), np.float32)])[0].shape == (5, 37)


SIZES = [(b, t) for b in (0, 1, 2, 3, 7) for t in (0, 1, 4, 5)]


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("mode", ["compiled", "portable", "interpreted"])
def test_a_call_checks_every_relation(relation: str, mode: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "portable":
        monkeypatch.setenv("NNCOMPILE_CALL", "portable")
    if mode == "interpreted":
        monkeypatch.setenv("NNCOMPILE_JIT", "0")
    graph = ir.parse(f"""
        graph g(%x: f32[B, T]) -> f32[B, T] {{
          require 2*B {relation} T + 1  # 1 Head  head.py:7
          require B < 6
          %0: f32[B, T] = exp(%x)
          return %0
        }}""")
    model = nncompile.compile(graph)
    holds = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
             ">": operator.gt, ">=": operator.ge}[relation]
    for b, t in SIZES:
        x = np.ones((b, t), np.float32)
        calls: list[Any] = [lambda x=x: model(x), lambda x=x: model(x, out=np.empty_like(x)),
                            lambda x=x: model(np.asfortranarray(x)), lambda x=x: model.bind(x)]
        for call in calls:
            if holds(2 * b, t + 1) and b < 6:
                call()
                continue
            failed = rf"2\*B {relation} T \+ 1, and B = {b}, T = {t}\n  layer: 1 Head\n  line:"
            with pytest.raises(nncompile.InputError, match=failed if b < 6 else "traced for"):
                call()
        if not (holds(2 * b, t + 1) and b < 6):
            with pytest.raises(ir.Error, match="g requires"):
                ir.interpret(graph, [x])
            with pytest.raises(nncompile.InputError, match="was traced for"):
                CallSpec.of(schedule(graph)).check_sizes({"B": b, "T": t})


def test_many_requirements_are_one_chain() -> None:
    lines = "\n".join(f"  require B*T != {100 + n}" for n in range(301))
    graph = ir.parse(TEXT.replace("  require B*T != 6", lines))
    model = nncompile.compile(graph)
    assert max(line.count("min(") for line in model.source.splitlines()) < 3
    with pytest.raises(nncompile.InputError, match=r"B\*T != 400, and B = 100, T = 4"):
        model(np.ones((100, 4), np.float32))
