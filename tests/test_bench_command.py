"""nncompile bench: scenarios, figures, files, verdicts. Nothing here depends on how fast it is."""
from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ir
from nncompile import nn
from nncompile.bench import SCENARIOS, Report, Result, Row
from nncompile.bench.contender import PEERS
from nncompile.bench.expected import Wrong
from nncompile.bench.fresh import PEAK, PHASES, SCRIPTS, Case, Script, fresh_starts, start
from nncompile.bench.inputs import input_sets
from nncompile.bench.laps import Lap, offered, sampled, served
from nncompile.bench.page import as_html
from nncompile.bench.peers import in_turn
from nncompile.bench.record import as_csv, as_dict, load
from nncompile.bench.samples import histogram, quantiles
from nncompile.bench.table import block, heading, legend
from nncompile.bench.verdict import Limit, changes
from nncompile.cli import main
from nncompile.console import text_of
from nncompile.errors import InputError
from nncompile.trace import trace
from tests.terminal import in_terminal, visible

MODEL = """\
from nncompile import nn
nn.init.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(-1))


class Words(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(5, 6)

    def forward(self, ids, x):
        return self.table(ids) * x


Words_inputs = ("i64[B, T]", "f32[B, T, 6]")
"""
QUICK = ["--rounds", "2", "--seconds", "0.002"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.py"
    path.write_text(MODEL)
    return str(path)


def failing(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 1
    _, err = capsys.readouterr()
    assert "Traceback" not in err
    return err


# -- in a terminal ---------------------------------------------------------------------------------

@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("argv", [
    ["--batch", "1,3"],
    ["--scenario", "throughput", "--callers", "2", "--vs", "none"],
    ["--scenario", "server", "--qps", "400", "--p99-ms", "1000", "--vs", "none"],
], ids=lambda argv: " ".join(argv[:2]))
def test_a_table_never_wraps(file: str, columns: int, argv: list[str]) -> None:
    status, shown = in_terminal(columns, "bench", f"{file}:net", *argv, *QUICK)
    assert status == 0, shown
    lines = visible(shown)
    assert any(line.startswith("batch ") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [50, 80, 200])
@pytest.mark.parametrize("argv", [["hw"], ["cache", "list", "--all"]], ids=" ".join)
def test_nothing_is_wider_than_the_terminal(file: str, columns: int, argv: list[str]) -> None:
    assert main(["show", f"{file}:net", "--source"]) == 0            # something for the cache
    status, shown = in_terminal(columns, *argv)
    assert status == 0, shown
    lines = visible(shown)
    assert lines and max(map(len, lines)) <= columns


@pytest.mark.parametrize("scenario", ["means", *SCENARIOS])
def test_the_widest_figures_fit(scenario: str) -> None:
    samples = tuple(tuple(np.linspace(1e-3, 123e-3, 2000)) for _ in range(5))
    long = Result((123.4e-3,) * 5, 1.0, samples=samples)
    served_ = Result((123.4e-3,), 1.0, samples=samples[:1], rate=123.4, passed=False)
    result = served_ if scenario in ("server", "find-peak") else long
    slow = result if result.rate else Result((12.34,) * 4 + (0.001,), 1.0, samples=samples)
    facts = {"ceiling_flops": 1e11, "ceiling_bytes": 1e11, "allocated_bytes": 123456.0,
             "overhead_seconds": 123.4e-9}
    row = Row(4096, 16, 10**9, 1.6, {"nncompile": result, "torch.compile": slow,
                                     "jax": Result(note="failed: " + "why " * 50)}, 10**9,
              None, facts)
    report = Report("x.py:net", "a machine " * 12, 1.0, ("torch.compile", "jax"), 5, scenario,
                    {"callers": 2, "seconds": 2.0, "qps": 1e6, "p99_seconds": 0.01}, [row])
    text = text_of(heading(report), block(report, row), legend(report))
    assert max(map(len, text.splitlines())) <= 80
    cells = next(line for line in text_of(block(report, row)).splitlines()
                 if "torch.compile" in line)
    assert not re.search(r"[a-z)][\d=]", cells[14:]), "two cells touch"


# -- loops -----------------------------------------------------------------------------------------

def test_each_sample_is_a_call() -> None:
    calls: list[int] = []
    lap = sampled(lambda: calls.append(1), 40)
    assert len(lap.samples) == 40 and len(calls) == 40 + 11
    assert sum(lap.samples) == pytest.approx(40 * lap.seconds)


@pytest.mark.parametrize("callers", [1, 3])
def test_all_callers_call(callers: int) -> None:
    calls = [0] * callers

    def call(number: int) -> None:
        calls[number] += 1
        time.sleep(0.001)

    lap = offered([lambda n=n: call(n) for n in range(callers)], 0.05)
    assert all(count > 1 for count in calls)
    assert len(lap.samples) == sum(calls) - callers        # the first of each is not timed


def test_an_error_of_a_caller_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        offered([lambda: 1 / 0, lambda: None], 0.01)
    done: list[int] = []

    def breaks() -> None:
        done.append(1)
        if len(done) > 3:
            raise KeyError("late")

    for servers in (1, 2):
        done.clear()
        with pytest.raises(KeyError):
            served([breaks] * servers, [0.0] * 6)


@pytest.mark.parametrize("servers", [1, 2])
def test_a_call_that_waits_for_a_server_has_waited(servers: int) -> None:
    """Ten calls arrive at once: the last of them is done after all, and its sample says so."""
    lap = served([lambda: time.sleep(0.01)] * servers, [0.0] * 10)
    assert len(lap.samples) == 10
    assert max(lap.samples) >= 0.01 * 10 / servers
    assert min(lap.samples) >= 0.01


def test_calls_take_sets_in_turn() -> None:
    way = in_turn([lambda: "a", lambda: "b", lambda: "c"])
    assert [way() for _ in range(5)] == ["a", "b", "c", "a", "b"]


# -- inputs ----------------------------------------------------------------------------------------

GRAPH = ir.parse("""
    graph g(%ids: i64[B, T], %x: f32[B, 2]) -> f32[B, 2] {
      @t: f32[7, 2]
      %0: f32[B, T, 2] = embedding(%ids, @t)
      %1: f32[B, 2] = sum(%0) {axes = [1], keepdims = false}
      %2: f32[B, 2] = add(%1, %x)
      return %2
    }""")


def test_random_sets_differ_and_are_seeded() -> None:
    first, second = input_sets(GRAPH, {"B": 3, "T": 4}, 2)
    assert not np.array_equal(first[1], second[1])
    again = input_sets(GRAPH, {"B": 3, "T": 4}, 2)[0]
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].max() < 7
    assert 1 <= len(input_sets(GRAPH, {"B": 3, "T": 4}, None)) <= 8
    assert len(input_sets(GRAPH, {"B": 10**6, "T": 4}, None)) == 1


def test_data_are_taken_row_by_row() -> None:
    ids, x = np.arange(10).reshape(5, 2) % 7, np.arange(10.0, dtype="f4").reshape(5, 2)
    sets = input_sets(GRAPH, {"B": 2, "T": 2}, 3, [[ids, x]])
    assert [s[1][0, 0] for s in sets] == [0.0, 4.0, 8.0]
    np.testing.assert_array_equal(sets[2][1], [[8, 9], [0, 1]])        # from the first row again
    for wrong, match in (([ids], "number of the model's"), ([x, x], "its array float32"),
                         ([ids, x[:, :1]], "is needed, with any number of rows")):
        with pytest.raises(InputError, match=match):
            input_sets(GRAPH, {"B": 2, "T": 2}, 1, [wrong])


def test_files_and_folders_are_data(file: str, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", np.full((2, 4), number), np.ones((2, 4, 6)))
    saved = tmp_path / "r.json"
    assert main(["bench", f"{file}:Words", "--input", str(tmp_path), "--vs", "none", *QUICK,
                 "--save", str(saved)]) == 0
    assert [row["batch"] for row in load(saved)["rows"]] == [2]       # the data's own
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    assert "no .npy or .npz file" in failing(capsys, "bench", f"{file}:net", "--input",
                                             str(tmp_path / "empty"))
    assert "types and files" in failing(capsys, "bench", f"{file}:Words", "--input", "i64[B, T]",
                                        "--input", str(tmp_path / "0.npz"))


def test_where_weights_are_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from nncompile.bench import work
    monkeypatch.setattr(work, "cache_bytes", lambda: {1: 1000, 2: 10**5})
    monkeypatch.setattr(work, "cache_of", lambda size: 2 if size <= 10**5 else 4)
    assert [work.level_of(size) for size in (1, 1000, 1001, 10**6)] == ["L1", "L1", "L2", "memory"]


# -- figures ---------------------------------------------------------------------------------------

def test_quantiles_and_how_well_they_are_known() -> None:
    random = np.random.default_rng(1)
    found = quantiles([random.exponential(size=2000) for _ in range(9)])
    assert list(found) == ["p50", "p90", "p99", "p99.9"]
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[name].low <= -np.log(1 - q) * 1.1 and found[name].high >= -np.log(1 - q) * 0.9
        assert found[name].low <= found[name].value <= found[name].high
    assert list(quantiles([range(100)])) == ["p50", "p90", "p99"]
    assert list(quantiles([range(99)])) == ["p50", "p90"]
    assert quantiles([[1.0]]) == {} and quantiles([]) == {}
    assert quantiles([[2.0, 2.0]])["p50"] == (2.0, 2.0, 2.0)


def test_rounds_that_differ_widen_the_interval() -> None:
    """A thousand calls of a round that are alike tell as much as one."""
    alike = quantiles([np.full(1000, 1.0 + r) for r in range(9)])["p50"]
    assert alike.high - alike.low >= 1.0


def test_a_histogram_has_every_call() -> None:
    samples = [np.geomspace(1e-6, 1e-3, 5000)]
    edges, counts = histogram(samples)
    assert sum(counts) == 5000 and len(edges) == len(counts) + 1
    assert sum(histogram([[0.0, 0.0]])[1]) == 2


def report_of(**results: Result) -> Report:
    row = Row(8, 1, 100, 0.0, results, 50, None,
              {"ceiling_flops": 1e9, "ceiling_bytes": 1e9, "allocated_bytes": 2048.0},
              (("0 Linear <b>", 1e-6), ("1 ReLU", 3e-6)))
    return Report("<b>net</b>", "a machine", 1.0, ("torch",), 3, "latency", {}, [row])


def ours(seconds: float = 1e-5, calls: int = 200) -> Result:
    return Result((seconds, seconds * 1.01, seconds * 0.99), 1.0,
                  samples=tuple(tuple(seconds + k * 1e-9 for k in range(calls)) for _ in range(3)))


def test_figures_come_back_from_a_file(tmp_path: Path) -> None:
    found = as_dict(report_of(nncompile=ours(), torch=Result(note="missing: torch")))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(found))
    assert load(path) == found
    result = found["rows"][0]["results"]["nncompile"]
    assert result["items_per_second"] == pytest.approx(8 / 1e-5)
    assert result["flops_per_second"] == pytest.approx(100 / 1e-5)
    assert result["samples"] == 600 and set(result["quantiles"]) == {"p50", "p90", "p99"}
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [line["contender"] for line in lines] == ["nncompile", "torch"]
    assert float(lines[0]["p50"]) == result["quantiles"]["p50"]["value"]
    assert lines[1]["note"] == "missing: torch" and lines[1]["p50"] == ""
    for wrong in ("{", "[1]", '{"schema": 99, "rows": []}'):
        path.write_text(wrong)
        with pytest.raises(InputError, match=r"r\.json is no"):
            load(path)


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "br") and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_has_pictures_and_no_name_is_markup() -> None:
    text = as_html(as_dict(report_of(nncompile=ours(), torch=ours(2e-5),
                                     jax=Result(note="failed: <script>"))))
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen.count("svg") == 2 and "script" not in tags.seen and "b" not in tags.seen
    assert "0 Linear &lt;b&gt;" in text and "75 %" in text
    assert "<td>2.00 (2.00-2.00)</td>" in text              # times as long as ours
    assert "<td>*torch</td>" in text                        # the fastest peer


def test_layers_that_differ_in_a_number_are_one_bar() -> None:
    report = report_of(nncompile=ours())
    layers = tuple((f"layers.{i}.{name}, layers.{i} Block", seconds) for i in range(12)
                   for name, seconds in (("up Linear", 3e-6), ("down Linear", 1e-6)))
    found = as_dict(replace(report, rows=[replace(report.rows[0], layers=layers)]))
    text = as_html(found)
    assert text.count('class="ours" x=') - text.count("calls,") == 2
    assert "layers.0-11.up Linear" in text and "75 %" in text and "25 %" in text
    html_ = _Tags()
    html_.feed(text)
    assert html_.open == []


def test_a_page_needs_nothing_from_elsewhere() -> None:
    text = as_html(as_dict(report_of(nncompile=ours())))
    assert not re.search(r"(?:src|href)=", text)


# -- verdicts --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "kept"), [
    ("p50<11us", True), ("p50<1us", False), ("p99 <= 0.02 ms", True), ("items/s>=700k", True),
    ("items/s > 1M", False), ("allocated<=2KiB", True), ("allocated<1KiB", False),
    ("p99.9<1s", False), ("min>1ns", True),                # too few calls: not known, not kept
])
def test_limits(text: str, kept: bool) -> None:
    found = as_dict(report_of(nncompile=ours()))
    assert (list(Limit.of(text).broken(found)) == []) is kept


@pytest.mark.parametrize("text", ["p50", "p51<3us", "p50=3us", "p50<3 parsecs", "p50<1.2.3us", ""])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(InputError, match=r"limit|number"):
        Limit.of(text)


def test_a_change_is_told_from_noise() -> None:
    before = as_dict(report_of(nncompile=ours()))
    for factor, slower, word in ((1.0, False, "indistinguishable"), (1.2, True, "slower"),
                                 (1.01, False, "indistinguishable"), (0.8, False, "faster")):
        (change,) = changes(as_dict(report_of(nncompile=ours(1e-5 * factor))), before)
        assert change.slower_than(0.05) is slower and str(change).endswith(word)
    with pytest.raises(InputError, match=r"the scenario is latency, and cold"):
        changes(before, {**before, "scenario": "cold"})
    with pytest.raises(InputError, match="no row in common"):
        changes(before, {**before, "rows": []})


def test_exit_status_3(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", f"{file}:net", "--batch", "2", "--vs", "none", *QUICK]
    saved = tmp_path / "now.json"
    assert main([*command, "--assert", "p50<1h", "--save", str(saved)]) == 1
    assert "no limit" in capsys.readouterr().err and not saved.exists()
    assert main([*command, "--assert", "p50<1s", "--save", str(saved)]) == 0
    assert main([*command, "--assert", "p50<1ns"]) == 3
    assert "failed: p50<1ns: batch 2, 1 thread: p50 is" in capsys.readouterr().out
    old = load(saved)
    old["rows"][0]["results"]["nncompile"]["seconds"] = [1e-12, 1e-12]
    saved.write_text(json.dumps(old))
    compared = [*command, "--compare", str(saved)]
    assert main(compared) == 0
    assert "slower" in capsys.readouterr().out
    assert main([*compared, "--fail-if-slower", "5%"]) == 3
    assert "--compare old.json" in failing(capsys, *command, "--fail-if-slower", "5%")


# -- what is asked for -----------------------------------------------------------------------------

def test_a_server_that_is_too_slow_fails(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", f"{file}:net", "--batch", "2", "--vs", "none", "--seconds", "0.05",
               "--scenario"]
    assert main([*command, "server", "--qps", "2000", "--p99-ms", "1e-6"]) == 3
    out = capsys.readouterr().out
    assert "FAIL" in out and "fewer than 99 of 100 calls" in out
    assert main([*command, "find-peak", "--p99-ms", "1000"]) == 0
    assert "calls/s" in capsys.readouterr().out
    for wrong, match in ((["server", "--qps", "3"], "needs --p99-ms"),
                         (["find-peak", "--qps", "3", "--p99-ms", "1"], "--qps has no meaning"),
                         (["latency", "--callers", "2"], "has one caller")):
        assert match in failing(capsys, *command, *wrong)


def test_a_fresh_process(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("threadpoolctl")
    saved, table = tmp_path / "cold.json", tmp_path / "cold.csv"
    assert main(["bench", f"{file}:net", "--scenario", "cold", "--rounds", "1", "--vs", "numpy",
                 "--save", str(saved), "--save", str(table)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for state in ("empty", "warm"):
        block = out.partition(f"cache {state}\n")[2].splitlines()
        assert block[0].split() == ["import", "model", "compile", "1st", "call", "to", "1st",
                                    "2nd", "call", "of", "ours", "memory"]
        assert block[1].startswith(" nncompile ") and block[2].startswith("*numpy ")
    starts = json.loads(saved.read_text())["starts"]
    for name in ("nncompile", "numpy"):
        assert len(starts[name]["empty"]) == len(starts[name]["warm"]) == 1
        assert all(seconds >= 0 for seconds in starts[name]["empty"][0].values())
        assert starts[name]["warm"][0]["peak_bytes"] > 2**24
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(line["contender"], line["cache"]) for line in lines] == [
        (name, state) for name in ("nncompile", "numpy") for state in ("empty", "warm")]
    assert float(lines[3]["import"]) == starts["numpy"]["warm"][0]["import"]
    assert "the fresh process failed" not in out
    assert ("PYTHONDONTWRITEBYTECODE is set" in out) == sys.dont_write_bytecode
    for wrong, match in ((["--seconds", "1"], "no meaning with --scenario cold"),
                         (["--vs", "nobody"], "there is no peer nobody"),
                         (["--target", "cuda"], "compute on the CPU")):
        assert match in failing(capsys, "bench", f"{file}:net", "--scenario", "cold", *wrong)
    assert "nothing" in failing(capsys, "bench", f"{file}:nothing", "--scenario", "cold",
                                "--rounds", "1", "--vs", "none")


FRESH = {"numpy": ("threadpoolctl", "scipy"), "torch": ("torch",),
         "onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "jax": ("jax",)}


@pytest.mark.parametrize("name", ["nncompile", *FRESH])
def test_each_contender_starts_in_a_process_of_its_own(name: str, tmp_path: Path) -> None:
    """And its outputs are those of the graph, or there is no time."""
    for module in FRESH.get(name, ()):
        pytest.importorskip(module)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Softmax(-1)).eval()
    graph = trace(model, "f32[B, 6]")
    case = Case(graph, [np.ones((2, 6), np.float32)], 1, str(tmp_path))
    found = start(case, SCRIPTS[name](case))
    assert [*found] == [*PHASES, PEAK] and all(seconds >= 0 for seconds in found.values())
    assert found[PEAK] > 2**24
    if name != "nncompile":                      # which compares in its own process
        case.expected = [e._replace(array=e.array + 1) for e in case.expected]
        with pytest.raises(Wrong):
            start(case, SCRIPTS[name](case))


def test_every_peer_has_a_start() -> None:
    assert SCRIPTS.keys() == {"nncompile", *PEERS}


def test_a_peer_that_cannot_start_has_a_note(tmp_path: Path) -> None:
    graph = trace(nn.Linear(6, 8), "f32[B, 6]")
    case = Case(graph, [np.ones((2, 6), np.float32)], 1, str(tmp_path))
    broken = Script("import nothing_of_this_name", "", "")
    wrong = Script("import numpy as np", "", "call = lambda x: [x]")
    found = fresh_starts(case, {"broken": lambda _: broken, "wrong": lambda _: wrong}, 2, str)
    assert str(found["broken"]).startswith("failed: Error: the fresh process failed: ModuleNot")
    assert str(found["wrong"]).startswith("wrong: output 0 has the shape (2, 6)")


def test_memory_is_a_figure(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("threadpoolctl")
    saved = tmp_path / "r.json"
    command = ["bench", f"{file}:net", "--batch", "2", "--vs", "numpy", *QUICK]
    assert main([*command, "--save", str(saved), "--assert", "memory<10GiB"]) == 0
    assert re.search(r"peak memory\s+of\s+a\s+process:\s+nncompile\s+[\d.]+\s+MiB,\s+numpy",
                     capsys.readouterr().out)
    results = load(saved)["rows"][0]["results"]
    assert all(2**24 < results[name]["peak_bytes"] < 2**33 for name in ("nncompile", "numpy"))
    assert main([*command, "--assert", "memory<1MiB"]) == 3


def test_more_threads_than_cpus_are_refused(file: str, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    from nncompile.cpu import machine
    monkeypatch.setattr(machine, "usable_cpus", lambda: {0})
    err = failing(capsys, "bench", f"{file}:net", "--threads", "1,2")
    assert "this process may use 1 CPU," in err and "do: --threads 1" in err


def test_a_peer_that_is_not_installed(file: str, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    err = failing(capsys, "bench", f"{file}:net", "--vs", "torch")
    assert "--vs torch needs the package torch" in err and "nncompile[bench]" in err
    monkeypatch.setattr("nncompile.bench.DEFAULT_PEERS", ("torch",))
    assert main(["bench", f"{file}:net", "--batch", "2", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "not installed: torch (it needs torch)" in out and "torch  " not in out


def test_a_trace_has_a_process_for_each_row(file: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    assert main(["bench", f"{file}:net", "--batch", "2,3", "--vs", "none", *QUICK, "--trace",
                 str(path)]) == 0
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names == {0: "batch 2, 1 thread", 1: "batch 3, 1 thread"}
    for pid in names:
        steps = [e["name"] for e in events if e["pid"] == pid and e.get("cat") == "step"]
        assert steps == ["linear", "linear", "softmax"]


@pytest.mark.parametrize(("name", "match"), [
    ("none/r.json", "there is no folder"), ("", "cannot be written"), ("r.txt", "ends with one of"),
])
def test_files_are_checked_first(file: str, name: str, match: str, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert match in failing(capsys, "bench", "nowhere.py:net", "--save", str(tmp_path / name))
    if name != "r.txt":
        assert f"--trace {tmp_path}" in failing(capsys, "bench", "nowhere.py:net", "--trace",
                                                str(tmp_path / name))


def test_a_wrong_peer_is_not_timed_under_load(file: str, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(PEERS, "liar", lambda graph, sets, threads:
                        [lambda: [np.full((len(sets[0][0]), 3), 0.3, np.float32)]])
    assert main(["bench", f"{file}:net", "--batch", "2", "--vs", "liar", "--scenario", "throughput",
                 "--callers", "2", *QUICK]) == 0
    assert re.search(r"liar +wrong\n", capsys.readouterr().out)


def test_how_far_outputs_may_be_off_can_be_chosen(file: str, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def off(graph: Any, sets: Any, threads: int) -> Any:
        right = [ir.interpret(graph, arrays) for arrays in sets]
        return [in_turn([lambda y=y: [a + np.float32(1e-3) for a in y] for y in right])]

    monkeypatch.setitem(PEERS, "near", off)
    for options, word in (([], "wrong"), (["--rtol", "0.1"], r"\d"), (["--atol", "1e-2"], r"\d"),
                          (["--atol", "1e-4"], "wrong")):
        assert main(["bench", f"{file}:net", "--batch", "2", "--vs", "near", *options, *QUICK]) == 0
        assert re.search(rf"\*?near +{word}", capsys.readouterr().out)


def test_a_lap_of_nothing_has_no_samples() -> None:
    assert Result.of([Lap(1.0, 0.5), Lap(1.0, 0.5)]) == Result((1.0, 1.0), 0.5)
