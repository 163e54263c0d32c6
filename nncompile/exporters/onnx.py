"""Writes graphs as ONNX models; the package `onnx` is imported where one is written."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ir import DTYPES, Dim, DimExpr, Graph, NDArray, Node, TensorType, Value, Where, verify
from ir.composites import plain_nodes
from ir.graph import named_sizes
from ir.ops import at_sizes
from ir.printer import name_value
from ir.records import dataclass
from ir.types import Floored, bind_sizes, names_in, terms
from nncompile.array import describe
from nncompile.counterparts import NoCounterpart, counterpart
from nncompile.errors import InputError
from nncompile.extras import import_extra
from nncompile.model import CompiledModel
from nncompile.nn.module import Module
from nncompile.onnx_operators import OnnxNode
from nncompile.statefile import replace_file
from nncompile.structure import ARRAY, output_names
from nncompile.trace import trace_structured
from nncompile.version import nncompile as our_version

OPSET, _LOWEST = 21, 18
_MOST_BYTES = 2**31 - 2**20                      # of a message, less what is not weights
_ALIGNED = 4096                                  # where the arrays of an external file begin


def to_onnx(model: Any, path: str | PathLike[str], /, *inputs: Any, opset: int = OPSET,
            external_data: bool | None = None, keywords: Mapping[str, Any] | None = None,
            **named: Any) -> Path:
    """Writes a model as an ONNX file, in one step, and returns its path.

    model:         an `nn.Module` in eval mode; or, without inputs, an `ir.Graph` with its data or a
                   CompiledModel, whose traced graph is written, with the weights it has now.
    inputs:        as of `compile`: type texts or example arrays; `named` go by name.
    opset:         of the file, from 18 on.
    external_data: whether weights go to a file beside it, "out.onnx.data"; None: where they are
                   too large for one file, which holds 2 GB.
    keywords:      more inputs by name, for those that are named like an option above.

    Inputs and parameters keep their names, named sizes are the file's, and nodes are called by
    their layers. A dict that the model returns names the outputs; others are `output`, or
    `output.0` and so on. What the graph requires of its sizes has no place in ONNX, so it is noted
    in the file, under "nncompile.requirements", and not checked by who runs it.
    Raises InputError for a model, inputs, an opset or a path that cannot be used, and lists all
    ops that cannot be written; TraceError where `forward` cannot be traced; MissingExtraError
    without onnx.
    """
    onnx = import_extra("onnx", "onnx", f"writing {fspath(path)}")
    _check_target(path, opset, onnx.defs.onnx_opset_version())
    graph, names = _graph_of(model, inputs, {**named, **(keywords or {})})
    writer = Writer(graph, opset, names=names)
    try:
        content = writer.model()
    except NoCounterpart as error:
        raise InputError(f"{graph.name} cannot be written as ONNX: {error}") from None
    if external_data or (external_data is None and writer.bytes > _MOST_BYTES):
        replace_file(f"{fspath(path)}.data", _moved_out(content, Path(path).name + ".data"))
    replace_file(path, content.SerializeToString())
    return Path(path)


def onnx_bytes(graph: Graph, sizes: Mapping[str, int], opset: int) -> bytes:
    """Returns the serialized model with symbolic sizes replaced by numbers.

    A runtime that knows the sizes plans better; weights are stored as its products take them.
    Raises NoCounterpart.
    """
    content: bytes = Writer(graph, opset, sizes, packed=True).model().SerializeToString()
    return content


def _check_target(path: str | PathLike[str], opset: int, newest: int) -> None:
    if isinstance(opset, bool) or not isinstance(opset, int) or not _LOWEST <= opset <= newest:
        raise InputError(f"opset={opset!r}: files of the opsets {_LOWEST} to {newest} are written")
    if not Path(path).parent.is_dir():
        raise InputError(f"cannot write {fspath(path)}: there is no folder {Path(path).parent}")
    if Path(path).is_dir():
        raise InputError(f"cannot write {fspath(path)}: it is a folder")


def _graph_of(model: Any, inputs: Sequence[Any], named: Mapping[str, Any]
              ) -> tuple[Graph, Sequence[str]]:
    """Returns a graph with its data, and the names of its outputs; without any, they are numbered.
    """
    if isinstance(model, Module):
        traced = trace_structured(model, *inputs, **named)
        names = output_names(traced.nesting.outputs, len(traced.graph.outputs))
        return traced.graph, names
    if not isinstance(model, Graph | CompiledModel):
        raise InputError(f"to_onnx takes an nn.Module, an ir.Graph or a CompiledModel, not "
                         f"{describe(model)}")
    if inputs or named:
        raise InputError("a graph or compiled model has its inputs: leave "
                         f"{len(inputs) + len(named)} out")
    graph = model.ir("traced") if isinstance(model, CompiledModel) else model
    verify(graph)
    if missing := [name_value(p) for p in graph.params if p not in graph.data]:
        more = ", ..." * (len(missing) > 3)
        raise InputError(f"{graph.name} has no data for {', '.join(missing[:3])}{more}")
    return graph, model.output_names if isinstance(model, CompiledModel) else ()


# -- weights in a file of their own ----------------------------------------------------------------

def _moved_out(model: Any, file: str) -> Iterator[bytes]:
    """Makes every large array of a model one that is in an external file, and yields its content.
    """
    external, position = model.graph.initializer, 0
    for tensor in external:
        content = tensor.raw_data
        if len(content) < _ALIGNED:
            continue
        gap = -position % _ALIGNED
        tensor.ClearField("raw_data")
        tensor.data_location = type(tensor).EXTERNAL
        for key, value in {"location": file, "offset": position + gap,
                           "length": len(content)}.items():
            tensor.external_data.add(key=key, value=str(value))
        position += gap + len(content)
        yield b"\0" * gap
        yield content


# -- a graph as a model ----------------------------------------------------------------------------

@dataclass(frozen=True)
class _Origin:
    """What the nodes of an op are called, and the text that says where they are from."""

    layer: str
    text: str

    @classmethod
    def of(cls, where: Where) -> _Origin:
        path = where.layer.partition(", ")[0].rpartition(" ")[0]
        return cls(path, where.note.strip().replace("\n  ", "\n"))


class Writer:
    """Collects ONNX nodes and initializers, and names every value.

    sizes:  numbers for named sizes; the others stay symbolic, and are computed where they are
            needed from the shapes of the inputs.
    packed: whether a weight may be stored transposed, without its name.
    names:  of the outputs.
    """

    def __init__(self, graph: Graph, opset: int, sizes: Mapping[str, int] | None = None, *,
                 packed: bool = False, names: Sequence[str] = ()) -> None:
        data = {p: np.asarray(graph.data[p]) for p in graph.params}
        self.graph, self.opset, self.data = graph, opset, data
        self.sizes = {**(sizes or {}), **bind_sizes([p.type for p in data], list(data.values()))}
        self.packed = data if packed else {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.bytes = 0                           # of the initializers
        self._helper = import_extra("onnx.helper", "onnx", "writing ONNX")
        self._from_array = import_extra("onnx.numpy_helper", "onnx", "writing ONNX").from_array
        self._taken: set[str] = set()
        self.names = {v: self._unique(v.name) for v in graph.inputs}
        self.outputs = [self._unique(name) for name in names or output_names(
            ARRAY, len(graph.outputs))]
        self._read_from = named_sizes(graph)
        self._constants: dict[Any, str] = {}
        self._known_sizes: dict[str, str] = {}
        self._origin = _Origin("", "")
        self._node_names: set[str] = set()
        self._used: dict[str, int] = {}

    def model(self) -> Any:
        """Returns the ModelProto. Raises NoCounterpart, which lists all that is in the way."""
        self._reserve_names()
        self._check_sizes()
        self._add_all(list(plain_nodes(self.graph.nodes)))
        self._finish()
        helper, graph = self._helper, self.graph
        body = helper.make_graph(
            self.nodes, graph.name, [self._info(self.names[v], v.type) for v in graph.inputs],
            [self._info(name, v.type) for name, v in zip(self.outputs, graph.outputs, strict=True)],
            self.initializers, doc_string=self._requirements())
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            body, opset_imports=opsets, producer_name="nncompile", producer_version=our_version,
            ir_version=max(8, helper.find_min_ir_version_for(opsets)))
        if graph.requirements:
            helper.set_model_props(model, {"nncompile.requirements": "\n".join(
                map(str, graph.requirements))})
        return model

    def _requirements(self) -> str:
        lines = [f"requires {r}" + f"  ({r.where.line})" * bool(r.where.line)
                 for r in self.graph.requirements]
        return "\n".join(lines)

    def _reserve_names(self) -> None:
        """Gives parameters their own names before anything else can have them."""
        named = sorted(self.data, key=lambda p: p.kind != "parameter")     # parameters come first
        self._param_names = {p: self._unique(p.name) for p in named}

    def _check_sizes(self) -> None:
        """Raises NoCounterpart for named sizes that are the size of no axis of an input."""
        found = self._read_from.keys() | self.sizes.keys()
        lacking: dict[str, None] = {}
        for node in self.graph.nodes:
            for dim in _dims_in([*node.attrs.values(), node.result.type.shape]):
                lacking |= dict.fromkeys(sorted(names_in(dim) - found))
        if lacking:
            raise NoCounterpart(f"no input has an axis of the size {', '.join(lacking)}, from which"
                                " it could be read")

    def _add_all(self, nodes: Sequence[Node]) -> None:
        """Adds the nodes. Raises NoCounterpart that lists every op that has none."""
        obstacles: dict[str, list[str]] = {}
        for node in nodes:
            try:
                self._add(node)
            except NoCounterpart as error:
                obstacles.setdefault(str(error), []).append(node.where.note.strip())
                self.names[node.result] = ""     # what uses it is looked at as well
        if len(obstacles) == 1:
            raise NoCounterpart(next(iter(obstacles)))
        if obstacles:
            lines = [f"\n  {error} ({len(places)} times{', first at ' * bool(places[0])}"
                     f"{places[0]})" for error, places in obstacles.items()]
            raise NoCounterpart(f"{len(obstacles)} obstacles" + "".join(lines))

    def _add(self, node: Node) -> None:
        self._origin = _Origin.of(node.where)
        entry = counterpart(node.op, "onnx")
        inputs = tuple(self._at_sizes(o) if isinstance(o, Value) else o for o in node.inputs)
        originals: dict[Any, Any] = dict(zip(inputs, node.inputs, strict=True))
        given = OnnxNode(inputs, self._at_sizes(node.result), lambda v: self._name(originals[v]),
                         self.emit, self.constant, self._vector,
                         lambda v: self.packed.get(originals[v]), self.opset)
        attrs = {key: _fixed(value, self.sizes) for key, value in node.attrs.items()}
        self.names[node.result] = (entry(given, **attrs) if callable(entry)
                                   else self.emit(entry, *given.names))

    def _at_sizes(self, value: Value) -> Value:
        """Returns a value whose type has numbers for the sizes that are known."""
        shape = _fixed(value.type.shape, self.sizes)
        return Value(TensorType(value.type.dtype, shape), value.kind, value.name)

    def _name(self, value: Any) -> str:
        """Returns the name of a value; a parameter's array is written where it is used first."""
        if value not in self.names:
            name = self.names[value] = self._param_names[value]
            self._store(name, self.data[value])
        return self.names[value]

    def constant(self, array: NDArray) -> str:
        """Returns the name of an initializer with this content; equal small ones are one."""
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in self._constants:
            return self._constants[key]
        name = self._unique(f"constant.{len(self.initializers)}")
        self._store(name, array)
        if key is not None:
            self._constants[key] = name
        return name

    def _store(self, name: str, array: NDArray) -> None:
        tensor = self._from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        self.initializers.append(tensor)
        self.bytes += array.nbytes

    def emit(self, kind: str, *inputs: str, second: bool = False, **attrs: Any) -> str:
        """Adds a node and returns the name of its result, or of its second result."""
        layer = self._origin.layer
        stem = layer if layer.endswith(f"/{kind}") or not layer else f"{layer}/{kind}"
        name = self._numbered(stem or kind, self._node_names)
        outputs = [self._unique(f"{name}.{part}") for part in ("values", "indices")] if second \
            else [self._unique(name)]
        self.nodes.append(self._helper.make_node(
            kind, inputs, outputs, name, self._origin.text or None, **attrs))
        return outputs[-1]

    def _finish(self) -> None:
        """Gives the outputs their names: to what computes them, or to copies of anything else."""
        self._origin = _Origin("", "")
        computed = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        for output, value in zip(self.outputs, self.graph.outputs, strict=True):
            name = self._name(value)
            if name in computed and name not in renamed:
                renamed[name] = output
            else:
                self.nodes.append(self._helper.make_node(
                    "Identity", [name], [output], self._numbered("Identity", self._node_names)))
        for node in self.nodes if renamed else ():
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]

    def _info(self, name: str, type_: TensorType) -> Any:
        dtype = self._helper.np_dtype_to_tensor_dtype(DTYPES[type_.dtype])
        shape = [d if isinstance(d, int) else str(d) for d in _fixed(type_.shape, self.sizes)]
        return self._helper.make_tensor_value_info(name, dtype, shape)

    # -- names -------------------------------------------------------------------------------------

    def _unique(self, name: str) -> str:
        return self._numbered(name, self._taken)

    def _numbered(self, name: str, taken: set[str]) -> str:
        """Returns a name that is not taken yet, and takes it: this one or this one with a number.
        """
        found = name
        while found in taken:
            self._used[name] = self._used.get(name, 0) + 1
            found = f"{name}_{self._used[name]}"
        taken.add(found)
        return found

    # -- sizes -------------------------------------------------------------------------------------

    def _vector(self, dims: Sequence[Dim]) -> str:
        """Returns the name of a vector of sizes, a constant where all of them are numbers."""
        dims = [_fixed(d, self.sizes) for d in dims]
        if all(isinstance(d, int) for d in dims):
            return self.constant(np.array(dims, np.int64))
        parts: list[str] = []
        numbers: list[int] = []
        for dim in dims:
            if isinstance(dim, int):
                numbers.append(dim)
                continue
            parts += [self.constant(np.array(numbers, np.int64))] if numbers else []
            numbers = []
            parts.append(self._size(dim))
        parts += [self.constant(np.array(numbers, np.int64))] if numbers else []
        return parts[0] if len(parts) == 1 else self._computed(
            f"[{', '.join(map(str, dims))}]", "Concat", *parts, axis=0)

    def _size(self, dim: DimExpr) -> str:
        """Returns the name of a vector of one size: a sum of products of sizes of the inputs."""
        total = ""
        for monomial, coefficient in terms(dim):
            factors = [self._factor(factor) for factor in monomial]
            if coefficient != 1 or not factors:
                factors.append(self.constant(np.array([coefficient], np.int64)))
            part = factors[0]
            for factor in factors[1:]:
                part = self._computed(f"{part} * {factor}", "Mul", part, factor)
            total = self._computed(f"{total} + {part}", "Add", total, part) if total else part
        return total

    def _factor(self, factor: str) -> str:
        """Returns the name of a vector of one named size, or of a quotient that is rounded down."""
        if isinstance(factor, Floored):          # of a numerator from 0 on, so that Div rounds down
            divisor = self.constant(np.array([factor.divisor], np.int64))
            return self._computed(factor, "Div", self._vector([factor.numerator]), divisor)
        value, axis = self._read_from[factor]
        return self._computed(factor, "Shape", self.names[value], start=axis, end=axis + 1)

    def _computed(self, key: str, kind: str, *inputs: str, **attrs: Any) -> str:
        """Returns the result of a node that is added once only."""
        if key not in self._known_sizes:
            self._known_sizes[key] = self.emit(kind, *inputs, **attrs)
        return self._known_sizes[key]


def _fixed(value: Any, sizes: Mapping[str, int]) -> Any:
    """Returns an attribute or a shape with numbers for the sizes that are known, as a whole."""
    if isinstance(value, tuple):
        return tuple(_fixed(v, sizes) for v in value)
    if isinstance(value, DimExpr) and names_in(value) <= sizes.keys():
        return at_sizes(value, sizes)
    return value


def _dims_in(value: Any) -> Iterator[DimExpr]:
    if isinstance(value, DimExpr):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _dims_in(part)
