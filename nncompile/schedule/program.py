"""What schedule() returns: steps in order, and where each value lives.  Plain data, no target.

    program Mlp(x: f32[B, 64]), rows of B are independent
      h0: B*128
      0  h0 [B, 128]   = linear(x, 0.weight, 0.bias) then relu
      1  out0 [B, 10]  = linear(h0, 2.weight, 2.bias)
      2  out0 [B, 10]  = softmax(out0) {scale = 1.0}
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ir.graph import Graph, Node
from ir.printer import name_values
from ir.records import dataclass, replace
from ir.types import DTYPES, Dim, TensorType, product, same, terms

NARROW = 4                     # inner dimensions below this are not vectorised
PREFIXES = {"input": "in", "output": "out", "constant": "c", "buffer": "b", "slot": "h"}


class Place(NamedTuple):
    """Memory that a step reads or writes: number so many of the inputs, the outputs, the model's
    constants, or the slots of scratch memory.  Before memory is planned, every intermediate result
    has a buffer of its own, and no slot yet."""

    kind: str                                # a key of PREFIXES
    number: int

    def __str__(self) -> str:
        return f"{PREFIXES[self.kind]}{self.number}"


@dataclass(frozen=True)
class View:
    """The elements of a value: a place, where in it the first one is, and a stride for each dim.

    Offset and strides count elements of the dtype.  Moving axes, slicing and broadcasting make
    another View of the same place: no kernel runs for them.
    """

    place: Place
    dtype: str
    shape: tuple[Dim, ...]
    strides: tuple[Dim, ...]
    offset: Dim = 0

    @property
    def is_contiguous(self) -> bool:
        return all(same(d, 1) or same(s, c) for d, s, c in
                   zip(self.shape, self.strides, row_major(self.shape), strict=True))

    def permuted(self, axes: Sequence[int]) -> View:
        return self.laid_out([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def laid_out(self, shape: Sequence[Dim], strides: Sequence[Dim]) -> View:
        """From the same first element on."""
        return View(self.place, self.dtype, tuple(shape), tuple(strides), self.offset)

    def moved(self, place: Place) -> View:
        """The same in another place."""
        return View(place, self.dtype, self.shape, self.strides, self.offset)

    def sliced(self, axis: int, start: Dim, size: Dim, step: int = 1) -> View:
        """The elements start, start + step, ... of an axis, `size` of them."""
        stride = self.strides[axis]
        return replace(self, shape=(*self.shape[:axis], size, *self.shape[axis + 1:]),
                       strides=(*self.strides[:axis], stride * step, *self.strides[axis + 1:]),
                       offset=self.offset + start * stride)

    def reshaped(self, shape: Sequence[Dim]) -> View | None:
        """The same elements in row-major order, if one stride a dim walks them so: each dim of
        its fewest ones is split into some of the new dims."""
        strides: list[Dim] = []
        dims, (steps,) = collapsed(self.shape, [self.strides])
        for dim, stride in zip(dims, steps, strict=True):
            part: list[Dim] = []
            while not part or not same(product(part), dim):
                if len(strides) + len(part) == len(shape):
                    return None
                part.append(shape[len(strides) + len(part)])
            strides += [stride * step for step in row_major(part)]
        rest = shape[len(strides):]
        if not all(same(d, 1) for d in rest):
            return None
        return self.laid_out(shape, (*strides, *[0] * len(rest)))

    def broadcast_to(self, shape: Sequence[Dim]) -> View:
        """NumPy's broadcasting: a dim of size 1, or one that is missing, is read with stride 0."""
        if same(self.shape, tuple(shape)):
            return self
        missing = len(shape) - len(self.shape)
        own = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = tuple(s if same(d, wide) else 0 for d, s, wide in own)
        return self.laid_out(shape, (0,) * missing + strides)


def row_major(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    sizes: list[Dim] = [1]                       # of the last axes, of one more each time
    for dim in reversed(shape[1:]):
        sizes.append(sizes[-1] * dim)
    return tuple(reversed(sizes[:len(shape)]))


def contiguous(place: Place, type_: TensorType) -> View:
    return View(place, type_.dtype, type_.shape, row_major(type_.shape))


def contiguous_as(view: View, shape: Sequence[Dim]) -> View:
    """A contiguous view as another shape of as many elements."""
    return view.laid_out(shape, row_major(shape))


def words(type_: TensorType) -> Dim:
    """The words of 4 bytes that scratch memory sets aside for an array: as many as elements for a
    dtype of less, since memory that is not touched costs nothing."""
    return product(type_.shape) * max(1, DTYPES[type_.dtype].itemsize // 4)


def collapsed(shape: Sequence[Dim], strides: Sequence[Sequence[Dim]]
              ) -> tuple[tuple[Dim, ...], list[tuple[Dim, ...]]]:
    """The fewest dims that walk several arrays of one shape together: dims of size 1 are left
    out, and a dim is merged with the next where every array's strides allow it."""
    dims: list[Dim] = []
    columns: list[tuple[Dim, ...]] = []          # of a dim: each array's stride
    for size, column in zip(shape, zip(*strides, strict=True), strict=True):
        if same(size, 1):
            continue
        if dims and same(columns[-1], tuple([size * inner for inner in column])):
            dims[-1], columns[-1] = dims[-1] * size, column
        else:
            dims.append(size)
            columns.append(column)
    return tuple(dims), list(zip(*columns, strict=True)) or [()] * len(strides)


def as_matrix(view: View, columns: int = 1) -> View | None:
    """The view with its leading dims merged to one and its trailing ones to another, if each
    group has one stride and the last one is 1."""
    split = len(view.shape) - columns
    rows = merged(view.shape[:split], view.strides[:split])
    inner = merged(view.shape[split:], view.strides[split:])
    if rows is None or inner is None or not (same(inner[1], 1) or same(inner[0], 1)):
        return None
    return view.laid_out((rows[0], inner[0]), (rows[1], 1))


def merged(shape: Sequence[Dim], strides: Sequence[Dim]) -> tuple[Dim, Dim] | None:
    """One size and stride for several dims that follow each other in memory."""
    dims, (steps,) = collapsed(shape, [strides])
    return (dims[0], steps[0]) if len(dims) == 1 else None if dims else (1, 1)


def is_narrow(dim: Dim) -> bool:
    return isinstance(dim, int) and dim < NARROW


Operand = View | float                       # a Python float is a scalar of the model


@dataclass(frozen=True, eq=False)
class Step:
    """One kernel call.  `then` holds the elementwise ops applied to its result, each with its
    further operands; `node` is the line of the graph it comes from.  Compared by identity."""

    kind: str
    result: View
    operands: tuple[Operand, ...]
    attrs: Mapping[str, Any]
    then: tuple[tuple[str, tuple[Operand, ...]], ...]
    node: Node

    @cached_property
    def views(self) -> tuple[View, ...]:
        """Its own operands; what every step but an elementwise one has."""
        return tuple([o for o in self.operands if isinstance(o, View)])

    @cached_property
    def reads(self) -> tuple[View, ...]:
        further = [o for _, operands in self.then for o in operands]
        return (*self.views, *[o for o in further if isinstance(o, View)])


@dataclass(frozen=True)
class Constant:
    """Numbers of the model that steps read, and how a target stores them.

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

    `batch` names the leading size along which the graph's rows do not depend on each other, so
    that blocks of rows may be taken through all steps one after the other; None if they do.
    `preparation`, a graph without inputs, computes what `constants` are made of, once when weights
    are loaded: parameters, constants of the graph, and what depends on nothing else.
    """

    graph: Graph
    batch: str | None
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    steps: tuple[Step, ...]
    buffers: Mapping[Place, Dim]                      # words of 4 bytes of each slot
    preparation: Graph
    constants: tuple[Constant, ...]                   # number k is Place("constant", k)
    requirements: tuple[tuple[Dim, Node], ...]        # sizes that a call must not make negative

    @cached_property
    def dims(self) -> tuple[Dim, ...]:
        """Every size that the program computes with, each once."""
        used = (view for step in self.steps for view in (step.result, *step.reads))
        dims = (*self.buffers.values(),
                *(dim for v in (*self.inputs, *self.outputs, *used)
                  for dim in (*v.shape, *v.strides, v.offset, product(v.shape))))
        return tuple({terms(dim): dim for dim in dims}.values())

    def __str__(self) -> str:
        rows = [[str(i), place_text(s.result), f"= {call_text(s)}"]
                for i, s in enumerate(self.steps)]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        lines = [f"{Place('constant', k)}: {self.constant_text(constant)}"
                 for k, constant in enumerate(self.constants)]
        lines += [f"{place}: {size}" for place, size in self.buffers.items()]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        about = f"rows of {self.batch} are independent" if self.batch else "one block"
        return "\n  ".join([f"program, {about}", *lines])

    def constant_text(self, constant: Constant) -> str:
        """How it is stored, and the names of what it is made of."""
        names = name_values(self.preparation)
        made_of = [names[self.preparation.outputs[source]] for source in constant.sources]
        dims = ", ".join(map(str, constant.shape))
        return f"{constant.layout} of {' and '.join(made_of)}: {constant.dtype}[{dims}]"


def place_text(operand: Operand) -> str:
    if not isinstance(operand, View):
        return repr(operand)
    return f"{operand.place} [{', '.join(map(str, operand.shape))}]"


def call_text(step: Step) -> str:
    own = ", ".join(map(place_text, step.operands))
    attrs = ", ".join(f"{k} = {v}" for k, v in step.attrs.items())
    then = ", ".join(f"{op}({', '.join(map(place_text, others))})" if others else op
                     for op, others in step.then)
    return f"{step.kind}({own})" + f" {{{attrs}}}" * bool(attrs) + f" then {then}" * bool(then)
