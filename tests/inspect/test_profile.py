"""Profiles: their figures, tables and traces; and what notebooks show."""
from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn, optim
from nncompile.bench import Report, Result, Row
from nncompile.cpu.runtime import profile as runtime
from nncompile.cpu.runtime.profile import least
from nncompile.inspect.profile import Profile
from nncompile.inspect.roles import RUN, VIEW, roles


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 64), nn.GELU(),
                         nn.Sequential(nn.Linear(64, 64), nn.Softmax(-1))).eval()


@pytest.fixture(scope="module")
def fast() -> nncompile.compiler.CompiledModel:
    return nncompile.compile(model(), "f32[B, 4]")


@pytest.fixture(scope="module")
def measured(fast) -> Profile:
    return fast.profile(np.ones((5, 4), "f4"))


@pytest.fixture
def profile(fast, measured) -> Profile:
    """A profile whose figures are known."""
    return Profile(measured.program, measured.sizes, [1e-6, 5e-6, 2e-6], 10e-6, 0.5e-6)


def test_what_is_measured_adds_up(measured) -> None:
    assert len(measured.seconds) == 3 and all(s >= 0 for s in measured.seconds)
    assert measured.wall > 0
    lines = measured.total + measured.overhead + measured.waiting
    assert lines == pytest.approx(measured.wall, rel=1e-9)


def test_the_cost_of_calls_is_no_step_s_time() -> None:
    """Of two runs of two blocks and two steps; the second kernel costs more to call."""
    one = np.array([[1.1, 0], [5.3, 1], [2.1, 0], [0.2, 1]])
    other = np.array([[1.2, 0], [4.3, 1], [1.1, 0], [0.4, 1]])
    assert least([one, other], [0.1, 0.3], 2) == pytest.approx([2.1, 4.1])
    assert least([one[:2]], [2.0, 0.3], 2) == [0.0, 5.0]
    assert least([np.zeros((2, 2))], [], 2) == [0.0, 0.0]


def test_each_kernel_has_a_cost_of_its_own(fast, monkeypatch) -> None:
    """And it is not that of no call: it was measured between the calls of kernels."""
    seen = []
    monkeypatch.setattr(runtime, "least", lambda runs, overheads, steps: seen.append(
        (len(runs), overheads)) or [0.0] * steps)
    fast.profile(np.ones((5, 4), "f4"))
    [(runs, overheads)] = seen
    assert 7 <= runs <= 200
    assert sum(0 < cost < 1e-3 for cost in overheads) == 3      # the others are not called


def test_records_are_sorted_and_counted(profile) -> None:
    assert [r.step for r in profile.records] == [1, 2, 0]
    second, _, first = profile.records
    assert (first.kind, first.layer, first.products, first.bytes) == (
        "linear", "0", 2 * 5 * 4 * 64, 4 * (5 * 4 + 4 * 64 + 5 * 64))
    assert first.flops > first.products and second.layer == "2.0"
    assert second.products == 2 * 5 * 64 * 64


def test_layers_have_totals(profile) -> None:
    layers = [(total.layer, total.seconds, total.steps) for total in profile.by_layer()]
    assert layers == [("2.0", 5e-6, 1), ("2.1", 2e-6, 1), ("0", 1e-6, 1)]
    assert [(t.layer, t.seconds) for t in profile.by_layer(1)] == [
        ("2", pytest.approx(7e-6)), ("0", 1e-6)]
    assert [(t.layer, t.steps) for t in profile.by_layer(0)] == [("", 3)]


def test_the_table(profile) -> None:
    steps, layers = str(profile).split("\n\n")
    rows = steps.splitlines()[1:]
    assert [float(row.split()[0]) for row in rows] == [5.0, 2.0, 1.0, 1.5, 0.5, 10.0]
    assert [float(row.split()[1]) for row in rows] == [50.0, 20.0, 10.0, 15.0, 5.0, 100.0]
    assert "linear" in rows[0] and rows[3].endswith("the call itself")
    assert "waiting for a CPU" in rows[4] and rows[5].endswith("all, B = 5")
    assert [row.split()[-1] for row in layers.splitlines()[1:]] == ["2.0", "2.1", "0"]


def test_steps_that_are_longer_than_the_call(measured) -> None:
    text = str(Profile(measured.program, measured.sizes, [1e-6, 5e-6, 2e-6], 7e-6))
    assert re.search(r"-1\.0 +-14\.3 +in a call: steps are quicker", text)


def test_an_empty_batch(fast) -> None:
    empty = fast.profile(np.ones((0, 4), "f4"))
    assert "B = 0" in str(empty) and json.loads(empty.to_json())["sizes"] == {"B": 0}


def test_many_steps_are_one_line() -> None:
    deep = nncompile.compile(nn.Sequential(*[nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1))
                                             for _ in range(30)]).eval(), "f32[B, 3]")
    text = str(deep.profile(np.ones((2, 3), "f4")))
    assert "20 other steps" in text and "20 other layers" in text


def test_json(profile) -> None:
    read = json.loads(profile.to_json())
    assert (read["model"], read["sizes"], read["threads"]) == ("Sequential", {"B": 5}, 1)
    assert [step["step"] for step in read["steps"]] == [0, 1, 2]
    assert sum(step["seconds"] for step in read["steps"]) + read["overhead_seconds"] \
        + read["waiting_seconds"] == pytest.approx(read["wall_seconds"])
    assert {layer["layer"] for layer in read["layers"]} == {"0", "2.0", "2.1"}


def test_chrome_trace(profile) -> None:
    events = json.loads(profile.to_chrome_trace())["traceEvents"]
    assert [(e["name"], e["ts"], e["dur"]) for e in events if e["cat"] == "step"] == [
        ("linear", 0.0, 1.0), ("linear", 1.0, 5.0), ("softmax", 6.0, 2.0)]
    layers = {e["args"]["layer"]: (e["ts"], e["ts"] + e["dur"]) for e in events
              if e["cat"] == "layer"}
    assert layers == {"0": (0.0, 1.0), "2": (1.0, 8.0), "2.0": (1.0, 6.0), "2.1": (6.0, 8.0)}
    call, = (e for e in events if e["cat"] == "call")
    assert (call["ts"], call["dur"]) == (8.0, pytest.approx(1.5))
    assert all(e["ph"] == "X" and e["pid"] == e["tid"] == 0 for e in events)


# -- notebooks -------------------------------------------------------------------------------------

class Page(HTMLParser):
    """The tags of a page, which have to be closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


SAFE = {"div", "b", "table", "thead", "tbody", "tr", "td", "th", "pre"}
HOSTILE = "</td></pre><script>alert('1')</script><img src=x onerror=alert(2)> &amp;"


def pages(fast, profile) -> list[Page]:
    return [Page(each._repr_html_()) for each in (fast, fast.ir(), profile)]


def test_notebooks_show_tables(fast, profile) -> None:
    shown, graph, times = pages(fast, profile)
    assert "linear(%input, @0.weight, @0.bias) then gelu" in shown.text
    assert graph.text == str(fast.ir())
    assert "the call itself" in times.text and "2.0" in times.text
    for page in (shown, graph, times):
        assert page.tags <= SAFE and page.attributes <= {"style", "colspan"}


def test_hostile_names_stay_text_in_notebooks() -> None:
    graph = ir.check.with_data(nncompile.trace(model(), "f32[B, 4]"))
    where = ir.Where(f"{HOSTILE} Linear", HOSTILE)
    nodes = tuple(ir.records.replace(node, where=where) for node in graph.nodes)
    fast = nncompile.compile(ir.records.replace(graph, name=HOSTILE, nodes=nodes))
    for page in pages(fast, fast.profile(np.ones((5, 4), "f4"))):
        assert page.tags <= SAFE and page.attributes <= {"style", "colspan"}
        assert "<script>" in page.text or "alert" not in page.text


def test_control_characters_stay_text_in_explain() -> None:
    graph = ir.parse("""graph g(%x: f32[B, 4]) -> f32[B, 4], f32[B, 4] {
        %0: f32[B, 4] = tanh(%x)
        %1: f32[B, 4] = exp(%0)
        return %0, %1
        }""")
    where = ir.Where("\x1b[31m\x9b Linear", "\x1b]0;x\x07")
    fast = nncompile.compile(ir.records.replace(graph, nodes=tuple(
        ir.records.replace(node, where=where) for node in graph.nodes)))
    assert "left alone:" in fast.explain()
    for text in (fast.explain(), str(fast.profile(np.ones((2, 4), "f4"))), str(fast.ir())):
        assert all(line.isprintable() for line in text.split("\n"))


def test_short_reprs(fast, profile) -> None:
    assert repr(fast) == "<nncompile.CompiledModel Sequential(input: f32[B, 4]) -> f32[B, 64]>"
    assert repr(fast.ir()) == "<Graph Sequential: 3 nodes>"
    assert repr(profile).startswith(
        "<Profile Sequential: 10.0 us on one thread, 3 steps; longest: %1 = ")
    assert all("\n" not in repr(each) and len(repr(each)) < 140
               for each in (fast, fast.ir(), profile, fast.runs[0]))


def test_a_report_of_a_benchmark_shows_itself() -> None:
    report = Report(f"model {HOSTILE}", "a machine", 0.1, ("numpy",), 3, rows=[
        Row(1, 1, 100, 0.0, {"nncompile": Result((1e-6, 2e-6)),
                             "numpy": Result(note="not installed")})])
    assert repr(report).startswith("<Report model") and "\n" not in repr(report)
    page = Page(report._repr_html_())
    assert page.tags == {"pre"} and page.text == str(report)
    assert "not installed" in str(report) and "1.5 us" in str(report)


def test_a_training_step_has_the_same() -> None:
    net = model().train()
    step = nncompile.compile(net, "f32[B, 4]", "f32[B, 64]", loss=nn.MSELoss(),
                             optimizer=optim.SGD(net.parameters(), lr=0.1))
    before = {name: np.array(p) for name, p in net.state_dict().items()}
    profile = step.profile(np.ones((5, 4), "f4"), np.ones((5, 64), "f4"))
    assert len(profile.records) == len(profile.seconds) > 3
    assert all(np.array_equal(before[name], np.array(p)) for name, p in net.state_dict().items())
    assert [run.name for run in step.runs] == list(step.stages[:-1])
    assert Page(step._repr_html_()).tags <= SAFE


def test_nodes_that_one_step_computes_together_run() -> None:
    """The updates of one parameter and of its states are one step, and no views."""
    net = nn.Linear(4, 3)
    step = nncompile.compile(net, "f32[B, 4]", "f32[B, 3]", loss=nn.MSELoss(),
                             optimizer=optim.Adam(net.parameters()))
    schedule = nncompile.schedule.schedule(step.ir())
    together = [node for each in schedule.steps for node in each.nodes[1:]]
    known = roles(step.ir())
    assert together and all(known.of[node.result] == RUN for node in together)
    views = {node.op for node in step.ir().nodes if known.of[node.result] == VIEW}
    assert views <= {"reshape", "transpose", "expand", "cast"}
    text = str(step.profile(np.ones((5, 4), "f4"), np.ones((5, 3), "f4")))
    assert "; with it %" in text
