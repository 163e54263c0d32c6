"""What schedule() returns: steps in order, and where each value lives.

    program, rows of B are independent
      c0: panels of @0.weight and @0.bias: f32[128, 64]
      c1: panels of @2.weight and @2.bias: f32[10, 128]
      h0: 128*B
      0  h0 [B, 128]   = linear(in0 [B, 64], c0 [128, 64]) then relu
      1  out0 [B, 10]  = linear(h0 [B, 128], c1 [10, 128])
      2  out0 [B, 10]  = softmax(out0 [B, 10]) {scale = 1.0}

A program is plain data, and knows no target.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ir.graph import Graph, Node, Requirement
from ir.printer import name_values
from ir.records import cached_property, dataclass, replace
from ir.types import DTYPES, Dim, DimExpr, TensorType, product, same, terms
from nncompile.schedule.strides import collapsed, merged, row_major

_PREFIXES = {"input": "in", "output": "out", "constant": "c", "buffer": "b", "slot": "h"}


class Place(NamedTuple):
    """Memory that a step reads or writes: an input, output, constant, buffer or slot, by number.

    A buffer belongs to one intermediate result; when memory is planned, slots of scratch memory
    take the place of buffers.
    """

    kind: str                                # a key of _PREFIXES
    number: int

    def __str__(self) -> str:
        return f"{_PREFIXES[self.kind]}{self.number}"


@dataclass(frozen=True)
class View:
    """An array in memory: its place, shape and strides, and the offset of its first element.

    Offset and strides count elements. Transposing, slicing and broadcasting make another View of
    the same place, and need no kernel.
    """

    place: Place
    dtype: str
    shape: tuple[Dim, ...]
    strides: tuple[Dim, ...]
    offset: Dim = 0

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return all(same(d, 1) or same(s, c) for d, s, c in
                   zip(self.shape, self.strides, row_major(self.shape), strict=True))

    def permuted(self, axes: Sequence[int]) -> View:
        """Returns the view with its axes in this order."""
        return self.laid_out([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def laid_out(self, shape: Sequence[Dim], strides: Sequence[Dim]) -> View:
        """Returns a view of this shape and strides with the same first element."""
        return View(self.place, self.dtype, tuple(shape), tuple(strides), self.offset)

    def moved(self, place: Place) -> View:
        """Returns the same view of another place."""
        return View(place, self.dtype, self.shape, self.strides, self.offset)

    def sliced(self, axis: int, start: Dim, size: Dim, step: int = 1) -> View:
        """Returns the view of `size` elements of an axis: start, start + step, ..."""
        stride = self.strides[axis]
        return replace(self, shape=(*self.shape[:axis], size, *self.shape[axis + 1:]),
                       strides=(*self.strides[:axis], stride * step, *self.strides[axis + 1:]),
                       offset=self.offset + start * stride)

    def reshaped(self, shape: Sequence[Dim]) -> View | None:
        """Returns a view of the same elements in another shape, or None if strides do not allow it.

        Each dim, after dims are merged where that is possible, is split into some of the new dims.
        """
        strides: list[Dim] = []
        dims, (old,) = collapsed(self.shape, [self.strides])
        for dim, stride in zip(dims, old, strict=True):
            part: list[Dim] = []
            while not part or not same(product(part), dim):
                if len(strides) + len(part) == len(shape):
                    return None
                part.append(shape[len(strides) + len(part)])
            strides += [stride * inner for inner in row_major(part)]
        rest = shape[len(strides):]
        if not all(same(d, 1) for d in rest):
            return None
        return self.laid_out(shape, (*strides, *[0] * len(rest)))

    def contiguous_as(self, shape: Sequence[Dim]) -> View:
        """Returns a contiguous view in another shape of as many elements."""
        return self.laid_out(shape, row_major(shape))

    def as_matrix(self, columns: int = 1) -> View | None:
        """Returns the view with its last `columns` dims merged to one, and those before to another.

        None if strides do not allow that, or if the elements of a row do not have stride 1.
        """
        split = len(self.shape) - columns
        rows = merged(self.shape[:split], self.strides[:split])
        inner = merged(self.shape[split:], self.strides[split:])
        if rows is None or inner is None or not (same(inner[1], 1) or same(inner[0], 1)):
            return None
        return self.laid_out((rows[0], inner[0]), (rows[1], 1))

    def broadcast_to(self, shape: Sequence[Dim]) -> View:
        """Returns the view in a larger shape, by NumPy's broadcasting; new dims have stride 0."""
        if same(self.shape, tuple(shape)):
            return self
        missing = len(shape) - len(self.shape)
        own = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = tuple(s if same(d, wide) else 0 for d, s, wide in own)
        return self.laid_out(shape, (0,) * missing + strides)


def contiguous(place: Place, type_: TensorType) -> View:
    """Returns the view of an array that lies at the start of a place."""
    return View(place, type_.dtype, type_.shape, row_major(type_.shape))


def scratch_size(type_: TensorType) -> Dim:
    """Returns the scratch memory that an array takes, in units of 4 bytes.

    An element of a smaller dtype takes a unit, too: memory that is not touched costs nothing.
    """
    return product(type_.shape) * max(1, DTYPES[type_.dtype].itemsize // 4)


Operand = View | float                       # a Python float is a scalar of the model


PICK, ONE_HOT = "pick", "one_hot"            # lines of a row group: one element of a row, by index
CHECKED = (PICK, ONE_HOT)                    # they may find an index that is outside of the row


class ElementOp(NamedTuple):
    """One line of a group, `t2 = mul(t0, r1)`: an elementwise op, or "copy", on whole operands.

    operands: "r1" is an operand of the step, "t0" what line 0 computes, and "p" what the product
              does that the group is the end of.
    source:   the dtype that it reads, of a `where` that of its last two operands.
    dtype:    the dtype of what it computes.
    along:    in a row group, whether it has a value for each element of a row; see row_lines.py.
    """

    op: str
    operands: tuple[str, ...]
    source: str
    dtype: str
    along: bool = False

    def __str__(self) -> str:
        to = f" to {self.dtype}" if self.op == "cast" else ""
        return f"{self.op}({', '.join(self.operands)}){to}"


class Group(NamedTuple):
    """What a step of the kind "group" computes: several elementwise steps in one pass over memory.

    A step of the kind "row_group" has one, too; its lines may be reductions: see row_lines.py. A
    product that ends with a group has ("group", operands) as its `then`.

    ops:     the lines, in order.
    outputs: the line that computes each result of the step.
    nodes:   the nodes of the graph that it computes.
    made:    the node of each result.
    """

    ops: tuple[ElementOp, ...]
    outputs: tuple[int, ...]
    nodes: tuple[Node, ...]
    made: tuple[Node, ...]

    def __str__(self) -> str:
        lines = [f"t{i} = {op}" for i, op in enumerate(self.ops)]
        return ", ".join([*lines, f"return {', '.join(f't{i}' for i in self.outputs)}"])


@dataclass(frozen=True, eq=False)
class Step:
    """One kernel call. Steps are compared by identity.

    then: the elementwise ops that are applied to its result, each with its further operands.
    node: the node of the graph that it comes from.
    part: the op that it is a part of, where the node is made of several; see ir.composites.
    also: its results behind the first one; only groups have some, and products that end with one.
    """

    kind: str
    result: View
    operands: tuple[Operand, ...]
    attrs: Mapping[str, Any]
    then: tuple[tuple[str, tuple[Operand, ...]], ...]
    node: Node
    part: str = ""
    also: tuple[View, ...] = ()

    @property
    def results(self) -> tuple[View, ...]:
        """Everything that it writes."""
        return (self.result, *self.also)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that it computes: one, or those of a group."""
        group: Group | None = self.attrs.get("group")
        return group.nodes if group else (self.node,)

    @property
    def purpose(self) -> str:
        """Returns what it does for its node, as a prefix of the node's text.

        Nothing where it is all that the node says.
        """
        is_copy = self.attrs.get("op") == "copy" and self.node.op != "concat"
        what = "copy" if is_copy else self.part
        return f"{what}, for " if what else ""

    @cached_property
    def views(self) -> tuple[View, ...]:
        """Its operands that are arrays, without those of `then`."""
        return tuple([o for o in self.operands if isinstance(o, View)])

    @cached_property
    def reads(self) -> tuple[View, ...]:
        """The views that it reads, those of its further operands included."""
        further = [o for _, operands in self.then for o in operands]
        return (*self.views, *[o for o in further if isinstance(o, View)])


class Choice(NamedTuple):
    """Whether the value of a node is kept for its readers, and the cost either way, in bytes.

    operations: those of computing it again, of all readers together; see keep.py.
    """

    node: Node
    kept: bool
    operations: Dim
    keeping: Dim
    again: Dim


@dataclass(frozen=True)
class Constant:
    """An array of the model that steps read, and how a target stores it.

    layout:  "rows": an array in row-major order.
             "panels": a weight [N, K] as the target's product kernel reads it, and its bias [N].
             "transposed": a weight [N, K] as [K, N].
    shape:   of the array, or of the weight.
    sources: the outputs of the program's preparation that it is made of; a bias comes second.
    """

    layout: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """A scheduled graph.

    batch:        the leading size along which rows are independent, so that a block of rows can be
                  taken through all steps before the next block; None if rows are not.
    preparation:  a graph without inputs that computes what `constants` are made of, once when
                  weights are loaded: parameters, and all that depends on nothing but them.
    buffers:      the size of each slot, in units of 4 bytes.
    constants:    number k is Place("constant", k).
    requirements: what the sizes of a call have to fulfil, each once, with the op that needs it; ""
                  where the graph itself requires it.
    choices:      of a training step, which values are kept in memory, and which are computed again.
    """

    graph: Graph
    batch: str | None
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    steps: tuple[Step, ...]
    buffers: Mapping[Place, Dim]
    preparation: Graph
    constants: tuple[Constant, ...]
    requirements: tuple[tuple[str, Requirement], ...]
    choices: tuple[Choice, ...] = ()

    @cached_property
    def dims(self) -> tuple[Dim, ...]:
        """Every size that the program computes with, each once."""
        used = (view for step in self.steps for view in (*step.results, *step.reads))
        dims = (*self.buffers.values(),
                *(dim for v in (*self.inputs, *self.outputs, *used)
                  for dim in (*v.shape, *v.strides, v.offset, product(v.shape))),
                *(step.attrs["dim"] for step in self.steps if step.kind == "size"),
                *(dim for r in self.graph.requirements for dim in (r.left, r.right)
                  if isinstance(dim, DimExpr)))
        return tuple({dim if type(dim) is int else terms(dim): dim for dim in dims}.values())

    def __str__(self) -> str:
        rows = [[str(i), ", ".join(map(_place_text, s.results)), f"= {_call_text(s)}"]
                for i, s in enumerate(self.steps)]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        lines = [f"{Place('constant', k)}: {self._constant_text(constant)}"
                 for k, constant in enumerate(self.constants)]
        lines += [f"{place}: {size}" for place, size in self.buffers.items()]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        about = f"rows of {self.batch} are independent" if self.batch else "one block"
        return "\n  ".join([f"program, {about}", *lines])

    def _constant_text(self, constant: Constant) -> str:
        """Returns how a constant is stored, and the names of what it is made of."""
        names = name_values(self.preparation)
        made_of = [names[self.preparation.outputs[source]] for source in constant.sources]
        dims = ", ".join(map(str, constant.shape))
        return f"{constant.layout} of {' and '.join(made_of)}: {constant.dtype}[{dims}]"


def _place_text(operand: Operand) -> str:
    """Returns an operand as text: its place and shape."""
    if not isinstance(operand, View):
        return repr(operand)
    return f"{operand.place} [{', '.join(map(str, operand.shape))}]"


def _call_text(step: Step) -> str:
    """Returns a step as text: kind, operands, attributes and the ops behind it."""
    own = ", ".join(map(_place_text, step.operands))
    attrs = ", ".join(f"{k} = {v}" for k, v in step.attrs.items())
    then = ", ".join(f"{op}({', '.join(map(_place_text, others))})" if others else op
                     for op, others in step.then)
    return f"{step.kind}({own})" + f" {{{attrs}}}" * bool(attrs) + f" then {then}" * bool(then)
