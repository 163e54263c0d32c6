"""Where the time of a call goes: by step, by layer, and what the call itself takes."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ir.printer import name_values, print_call
from ir.records import cached_property, dataclass
from ir.types import DTYPES, Dim, evaluate_dim, product, same
from nncompile.inspect import html
from nncompile.inspect.layers import path_of, shown
from nncompile.schedule import Program, Step, View
from nncompile.schedule.cost import products, work

_MOST_ROWS = 40                                  # of a table that is printed
_CALL = "the call itself"
_LESS = "in a call: steps are quicker one after the other than each by itself"


@dataclass(frozen=True)
class Record:
    """One step of a call.

    step:    its number in the program. kind: what it is, such as `linear`.
    text:    what it computes, as the graph says it. layer, line: where that comes from.
    flops:   floating-point operations, exact for products, else an estimate; `products`: of
             products alone. bytes: that it reads and writes, each array once.
    """

    step: int
    kind: str
    text: str
    layer: str
    line: str
    seconds: float
    flops: int
    products: int
    bytes: int


@dataclass(frozen=True)
class LayerTotal:
    """The steps of a layer, and of those inside of it up to a depth, together."""

    layer: str
    seconds: float
    steps: int
    flops: int
    bytes: int


@dataclass(frozen=True)
class Profile:
    """The time of one call on one thread, and of each of its steps.

    sizes:   the named sizes of the call.
    seconds: of each step, the least of several runs; a step under a microsecond is mostly the cost
             of measuring.
    wall:    of a whole call, the least of several too, as it runs when nothing is measured.
    waiting: the part of them in which the thread had no CPU, because others ran on it.
    """

    program: Program
    sizes: Mapping[str, int]
    seconds: Sequence[float]
    wall: float
    waiting: float = 0.0

    @property
    def total(self) -> float:
        """The seconds of all steps together."""
        return sum(self.seconds)

    @property
    def overhead(self) -> float:
        """The seconds of a call that are no step's: checks, memory, and the calls of kernels.

        Below zero where steps take longer when each is measured than they take in a call.
        """
        return self.wall - self.waiting - self.total

    @cached_property
    def records(self) -> list[Record]:
        """The steps, the longest first."""
        names = name_values(self.program.graph)
        found = [self._record(i, step, seconds, names) for i, (step, seconds) in
                 enumerate(zip(self.program.steps, self.seconds, strict=True))]
        return sorted(found, key=lambda record: -record.seconds)

    def _record(self, number: int, step: Step, seconds: float, names: Mapping[Any, str]) -> Record:
        text = f"{step.purpose}{names[step.node.result]} = {print_call(step.node, names)}"
        if others := [names[node.result] for node in step.nodes if node is not step.node]:
            text += f"; with it {', '.join(others)}"
        views = {(v.place, v.offset): v for v in (*step.results, *step.reads)}
        return Record(number, step.part or step.kind, text, path_of(step.node),
                      step.node.where.line, seconds, self._number(work(step)),
                      self._number(products(step)), sum(map(self._bytes, views.values())))

    def _bytes(self, view: View) -> int:
        """The bytes of the elements of a view, those that are read again and again once."""
        dims = [dim for dim, stride in zip(view.shape, view.strides, strict=True)
                if not same(stride, 0)]
        return self._number(product(dims)) * DTYPES[view.dtype].itemsize

    def _number(self, dim: Dim) -> int:
        return int(evaluate_dim(dim, self.sizes))

    def by_layer(self, depth: int | None = None) -> list[LayerTotal]:
        """Returns the totals of the layers, the longest first.

        depth: how many parts a layer's path has at most; those inside of it count for it. A step
               that comes from several layers counts for the first.
        """
        groups: dict[str, list[Record]] = {}
        for record in sorted(self.records, key=lambda record: record.step):
            groups.setdefault(".".join(record.layer.split(".")[:depth]), []).append(record)
        totals = [LayerTotal(layer, sum(r.seconds for r in group), len(group),
                             sum(r.flops for r in group), sum(r.bytes for r in group))
                  for layer, group in groups.items()]
        return sorted(totals, key=lambda total: -total.seconds)

    # -- as text, as a page, as data -----------------------------------------------------------

    def __str__(self) -> str:
        lines = [f"{'us':>10} {'%':>6} {'GFLOP/s':>8} {'GB/s':>7}  step"]
        lines += [f"{us:>10} {share:>6} {rate:>8} {bandwidth:>7}  {what}"
                  for us, share, rate, bandwidth, what in self._steps()]
        lines += ["", f"{'us':>10} {'%':>6} {'steps':>8}  layer"]
        lines += [f"{us:>10} {share:>6} {steps:>8}  {layer}"
                  for us, share, steps, layer in self._layers()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        longest = self.records[0].text if self.records else "no step"
        return (f"<Profile {self.program.graph.name}: {self.wall * 1e6:.1f} us on one thread, "
                f"{len(self.seconds)} steps; longest: {shown(longest)[:60]}>")

    def _repr_html_(self) -> str:
        title = f"{self.program.graph.name}{self._sizes()}: one call on one thread"
        steps = html.table(("us", "%", "GFLOP/s", "GB/s", "step"), self._steps())
        layers = html.table(("us", "%", "steps", "layer"), self._layers())
        return html.section(title, layers, steps)

    def to_json(self) -> str:
        """Returns everything as JSON text: the call, its steps in their order, and its layers."""
        return json.dumps({
            "model": self.program.graph.name, "sizes": dict(self.sizes), "threads": 1,
            "wall_seconds": self.wall, "overhead_seconds": self.overhead,
            "waiting_seconds": self.waiting,
            "steps": [_fields(r) for r in sorted(self.records, key=lambda r: r.step)],
            "layers": [_fields(total) for total in self.by_layer()]}, indent=1)

    def to_chrome_trace(self) -> str:
        """Returns the call as JSON text that Perfetto and chrome://tracing show.

        Steps follow each other as in a call, below the layers that they come from.
        """
        events: list[dict[str, Any]] = []
        open_layers: list[dict[str, Any]] = []
        now = 0.0
        for record in sorted(self.records, key=lambda record: record.step):
            parts = record.layer.split(".") if record.layer else []
            keep = 0
            while keep < min(len(parts), len(open_layers)) \
                    and open_layers[keep]["name"] == parts[keep]:
                keep += 1
            del open_layers[keep:]
            for depth in range(keep, len(parts)):
                open_layers.append(_event(parts[depth], "layer", now, 0.0, {
                    "layer": ".".join(parts[:depth + 1])}))
                events.append(open_layers[-1])
            events.append(_event(record.kind, "step", now, record.seconds * 1e6, _fields(record)))
            now += record.seconds * 1e6
            for layer in open_layers:
                layer["dur"] = now - layer["ts"]
        if self.overhead > 0:
            events.append(_event(_CALL, "call", now, self.overhead * 1e6, {}))
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": {
            "model": self.program.graph.name, "sizes": dict(self.sizes)}})

    def _steps(self) -> list[tuple[str, ...]]:
        """The rows of the table of steps: the longest, the others together, the call, all."""
        rows = [(*self._time(r.seconds), _rate(r.products, r.seconds), _rate(r.bytes, r.seconds),
                 shown(r.text)) for r in self.records[:_MOST_ROWS]]
        if others := self.records[_MOST_ROWS:]:
            rows.append((*self._time(sum(r.seconds for r in others)), "", "",
                         f"{len(others)} other steps"))
        rows.append((*self._time(self.overhead), "", "", _CALL if self.overhead >= 0 else _LESS))
        if self.waiting:
            rows.append((*self._time(self.waiting), "", "", "waiting for a CPU: others ran on it"))
        return [*rows,
                (*self._time(self.wall), _rate(sum(r.products for r in self.records), self.wall),
                 "", f"all{self._sizes()}")]

    def _layers(self) -> list[tuple[str, ...]]:
        """The rows of the table of layers."""
        totals = self.by_layer()
        rows: list[tuple[str, ...]] = [
            (*self._time(total.seconds), str(total.steps), shown(total.layer) or "the model")
            for total in totals[:_MOST_ROWS]]
        if others := totals[_MOST_ROWS:]:
            rows.append((*self._time(sum(total.seconds for total in others)),
                         str(sum(total.steps for total in others)), f"{len(others)} other layers"))
        return rows

    def _time(self, seconds: float) -> tuple[str, str]:
        share = f"{100 * seconds / self.wall:.1f}" if self.wall else ""
        return f"{seconds * 1e6:.1f}", share

    def _sizes(self) -> str:
        return "".join(f", {name} = {size}" for name, size in self.sizes.items())


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds / 1e9:.1f}" if count and seconds else ""


def _fields(record: Record | LayerTotal) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__match_args__}


def _event(name: str, kind: str, start: float, duration: float, about: Mapping[str, Any]
           ) -> dict[str, Any]:
    return {"name": name, "cat": kind, "ph": "X", "ts": start, "dur": duration, "pid": 0, "tid": 0,
            "args": dict(about)}
