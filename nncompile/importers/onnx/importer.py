"""Imports an ONNX model by running its graph, node by node, on what is known of each value.

A value is an Array, which holds known numbers or a value of the graph that is being recorded; or an
array of sizes (see nncompile.importers.sizes). Each operator is a function of these, from the table
`nncompile.importers.onnx.operators`. A node that cannot be imported is an obstacle, and what it
would have computed is UNKNOWN; the import goes on behind it, to find all of them.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import ir
from ir import DTYPES, DimExpr, Error, NDArray, TensorType, Value, Where, type_of
from ir.types import Dim, symbol
from nncompile.array import Array, describe
from nncompile.array.dispatch import current
from nncompile.array.tape import bare
from nncompile.errors import InputError, ModelImportError
from nncompile.extras import import_extra
from nncompile.importers.names import graph_name, printable, size_name
from nncompile.importers.obstacles import Obstacles
from nncompile.importers.onnx.node import Node, Values
from nncompile.importers.onnx.operator import Operator
from nncompile.importers.onnx.operators import OPERATORS
from nncompile.importers.onnx.reader import Tensors, dtype_of
from nncompile.importers.recorder import ImportRecorder
from nncompile.importers.sizes import Known, Sizes, in_graph, objects_of, sizes_or_numbers

_MOST_REPEATED = 100_000                         # nodes run, beyond twice those in the file
_DEEPEST = 32                                    # graphs inside of graphs, and of functions
_WEIGHTS = ("f32", "f64", "i8", "u8")              # element types that weights have


class _Unknown:
    """What a node that is an obstacle would have computed."""


UNKNOWN = _Unknown()
_Found = Known | _Unknown | None


class _Recorder(ImportRecorder):
    """The dispatcher of an import: a file has no example, whose sizes could decide anything."""

    def decide(self, left: Dim, relation: str, right: Dim) -> bool:
        """Raises Error: the model is imported for all sizes."""
        raise Error(f"whether {left} {relation} {right} is not known before run time")


class _Scope:
    """The values of one graph, by name; those of the graphs around it are seen, too."""

    def __init__(self, importer: Importer, opsets: Mapping[str, int], parent: _Scope | None = None,
                 attributes: Mapping[str, Any] | None = None) -> None:
        self.importer, self.opsets, self.parent = importer, opsets, parent
        self.attributes = attributes             # of the call, inside of a function
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.values: dict[str, _Found] = {}
        self.initializers: dict[str, Any] = {}

    def find(self, name: str) -> _Found:
        """Returns a value. Raises Error where no node before has computed it."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            if name in scope.initializers:
                scope.values[name] = self.importer.initializer(name, scope)
                return scope.values[name]
            scope = scope.parent
        raise Error(f"nothing before it computes its input {printable(name)!r}")


class Importer:
    """One import of one model."""

    def __init__(self, model: Any, title: str, tensors: Tensors,
                 shapes: Mapping[str, Any], constants: Mapping[str, Any],
                 baked: frozenset[str] = frozenset()) -> None:
        self.model, self.title, self.tensors = model, title, tensors
        self.shapes, self.constants, self.baked = shapes, constants, baked
        self.defs = import_extra("onnx.defs", "onnx", "an ONNX model")
        self.recorder = _Recorder()
        self.obstacles = Obstacles()
        self.notes: dict[str, None] = {}
        self.aliases: dict[str, str] = {}
        self.wanted: dict[str, None] = {}        # inputs whose numbers decide shapes
        self.read: set[str] = set()              # weights whose numbers were looked at
        self._parameters: dict[int, Value] = {}
        self._schemas: dict[tuple[str, str, int], Any] = {}
        self._steps, self._most = 0, _MOST_REPEATED + 2 * len(model.graph.node)
        self._sizes: set[str] = set()            # names of sizes that are taken
        self._functions = {(_domain(f.domain), f.name, f.overload): f for f in model.functions}

    def run(self) -> ir.Graph:
        """Returns the graph. Raises ModelImportError, which lists all obstacles."""
        newest = import_extra("onnx", "onnx", "an ONNX model").IR_VERSION
        if self.model.ir_version > newest:
            raise ModelImportError(f"{printable(self.title)} has version {self.model.ir_version} "
                                   "of ONNX's file format, and the package onnx that is installed "
                                   f"knows those up to {newest}\n  do: install a newer onnx")
        scope = _Scope(self, _opsets(self.model.opset_import, self.defs, self.title))
        graph = self.model.graph
        token = current.set(self.recorder)
        try:
            if graph.sparse_initializer:
                self.obstacles.add("sparse weights", "they are not supported", graph.name)
            scope.initializers = self._by_name(graph.initializer)
            self._declare_inputs(graph, scope)
            outputs = self._outputs(graph, scope)
        finally:
            current.reset(token)
        if self.obstacles:
            error = self.obstacles.error(self.title)
            error.inputs = tuple(self.wanted)
            raise error
        built = self.recorder.builder.build(graph_name(graph.name or self.title), outputs)
        ir.verify(built, built=True)
        return built

    # -- inputs ------------------------------------------------------------------------------------

    def _declare_inputs(self, graph: Any, scope: _Scope) -> None:
        inputs = [info for info in graph.input if info.name not in scope.initializers]
        names = {info.name for info in inputs}
        params = dict.fromkeys(d.dim_param for info in inputs for d in _dims(info) if d.dim_param)
        known = {name: size_name(name, self._sizes) for name in params if name not in self.shapes}
        for info in graph.input:
            if info.name in scope.initializers:
                self._check_default(info, scope.initializers[info.name])
        _check_names("shapes", self.shapes, {*names, *params}, "inputs and named sizes")
        _check_whole_shapes(self.shapes, names - params.keys())
        _check_names("constants", self.constants, names, "inputs")
        batch = "B"
        if any("B" in _names_in_shape(self.shapes[name]) for name in self.shapes):
            self._sizes.add("B")
        elif "B" in self._sizes:
            batch = size_name("batch", self._sizes)
        for info in inputs:
            try:
                if info.name in scope.values:
                    raise Error("there are two inputs of this name")
                type_ = self._input_type(info, known, batch)
                scope.values[info.name] = self._input(info.name, type_)
            except InputError:                   # about an argument, and not about the file
                raise
            except Error as error:
                scope.values[info.name] = UNKNOWN
                self.obstacles.add("an input", str(error), info.name)

    def _input(self, name: str, type_: TensorType) -> Known:
        if name not in self.constants:
            return Array(self.recorder.declare("input", name, type_))
        given = self.constants[name]
        array = np.asarray(given)
        dtype = DTYPES[type_.dtype]
        if not np.can_cast(array.dtype, dtype, "same_kind") and np.asarray(given).size:
            raise InputError(f"constants: {name!r} is {type_}, and {describe(given)} is not")
        array = array.astype(dtype)
        if array.ndim != type_.ndim or any(isinstance(d, int) and d != n for d, n in zip(
                type_.shape, array.shape, strict=True)):
            raise InputError(f"constants: {name!r} is {type_}, not an array of shape "
                             f"{list(array.shape)}")
        return Array(array)

    def _check_default(self, info: Any, tensor: Any) -> None:
        """Notes an obstacle where an array is not what the input of its name is declared to be."""
        declared = info.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in _dims(info)]
        fits = len(sizes) == len(tensor.dims) and all(
            size in (None, -1, there) for size, there in zip(sizes, tensor.dims, strict=True))
        fits |= not declared.HasField("shape")
        if declared.elem_type != tensor.data_type or not fits:
            self.obstacles.add("an array in the file", "it is declared as an input of another type",
                               info.name)

    def _input_type(self, info: Any, known: Mapping[str, str], batch: str) -> TensorType:
        if not info.type.HasField("tensor_type"):
            raise Error(f"it is a {info.type.WhichOneof('value') or 'value of no type'}, and only "
                        "arrays are supported")
        tensor = info.type.tensor_type
        dtype = dtype_of(tensor.elem_type)
        bound = self.shapes.get(info.name)
        if isinstance(bound, tuple | list):
            if tensor.HasField("shape") and len(bound) != len(tensor.shape.dim):
                raise InputError(f"shapes: {info.name!r} is given {len(bound)} sizes, and has "
                                 f"{len(tensor.shape.dim)}")
            return TensorType(dtype, tuple(self._bound(info.name, dim) for dim in bound))
        if not tensor.HasField("shape"):
            raise Error("the file does not say its shape\n"
                        f"do: shapes={{{info.name!r}: (\"B\", 64)}}, with its own sizes")
        sizes = [self._dim(info.name, axis, dim, known, batch)
                 for axis, dim in enumerate(tensor.shape.dim)]
        return TensorType(dtype, tuple(sizes))

    def _dim(self, name: str, axis: int, dim: Any, known: Mapping[str, str], batch: str) -> Dim:
        if dim.HasField("dim_value") and dim.dim_value != -1:
            return int(dim.dim_value)
        if dim.dim_param:
            if dim.dim_param in self.shapes:
                return self._bound(dim.dim_param, self.shapes[dim.dim_param])
            return symbol(known[dim.dim_param])
        if axis == 0:                            # the batch size, which the file does not name
            return symbol(batch)
        return symbol(size_name(f"{name}_{axis}", self._sizes))

    def _bound(self, name: str, size: Any) -> Dim:
        """Returns a size from `shapes=`: a number, or a name."""
        if isinstance(size, DimExpr):
            return size
        if isinstance(size, str):
            try:
                return symbol(size)
            except Error as error:
                raise InputError(f"shapes: {name!r}: {error}") from None
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
            raise InputError(f"shapes: {name!r} is given {describe(size)}, and a size is a number, "
                             "or a name such as \"B\"")
        return int(size)

    # -- weights -----------------------------------------------------------------------------------

    def initializer(self, name: str, scope: _Scope) -> _Found:
        """Returns an array from the file: a parameter, if it is one that training has made.

        Integers and single numbers, which shapes are computed with, are known numbers instead.
        """
        try:
            data = self.tensors.array(scope.initializers[name])
        except Error as error:
            self.obstacles.add("an array in the file", str(error), name)
            return UNKNOWN
        if not name or name in self.baked or data.ndim == 0 or scope.depth or (
                type_of(data).dtype not in _WEIGHTS):
            return Array(data)
        known = self._parameters.get(id(data))
        if known is not None:                    # tied: two names of one place in another file
            self.aliases[name] = known.name
            return Array(known)
        value = self.recorder.declare("parameter", name, type_of(data), data)
        self._parameters[id(data)] = value
        return Array(value)

    def _by_name(self, tensors: Sequence[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for tensor in tensors:
            if tensor.name in found:
                self.obstacles.add("an array in the file", "there are two of this name",
                                   tensor.name)
            found[tensor.name] = tensor
        return found

    # -- graphs ------------------------------------------------------------------------------------

    def _outputs(self, graph: Any, scope: _Scope) -> list[Value]:
        """Returns the values of the model's outputs."""
        self._run_nodes(graph.node, scope, {info.name for info in graph.output})
        outputs = []
        for info in graph.output:
            try:
                found = scope.find(info.name)
                if isinstance(found, _Unknown):
                    continue
                result = self._array(found)
                declared = info.type.tensor_type.elem_type
                if declared and dtype_of(declared) != result.type.dtype:
                    raise Error(f"the file declares it as {dtype_of(declared)}, and it is "
                                f"{result.type}")
                outputs.append(self.recorder.value(result._as_operand()))
            except Error as error:
                self.obstacles.add("an output", str(error), info.name)
        if not graph.output:
            self.obstacles.add("the outputs", "there are none", graph.name)
        return outputs

    def _subgraph(self, scope: _Scope, graph: Any, inputs: Values) -> list[Known]:
        """Returns the outputs of a graph in an attribute of a node."""
        inner = _Scope(self, scope.opsets, scope, scope.attributes)
        inner.initializers = self._by_name(graph.initializer)
        if len(inputs) != len(graph.input):
            raise Error(f"a graph in it takes {len(graph.input)} inputs, not {len(inputs)}")
        for info, value in zip(graph.input, inputs, strict=True):
            inner.values[info.name] = value
        return self._inside(graph.node, inner, [info.name for info in graph.output])

    def _called(self, function: Any, scope: _Scope, inputs: Sequence[_Found],
                attributes: Mapping[str, Any]) -> list[_Found]:
        """Returns the outputs of a function that the file defines."""
        defaults = {a.name: a for a in function.attribute_proto}
        if unknown := attributes.keys() - {*function.attribute, *defaults}:
            raise Error(f"the function has no attribute {printable(min(unknown))}")
        if len(inputs) > len(function.input):
            raise Error(f"the function takes {len(function.input)} inputs, not {len(inputs)}")
        opsets = _opsets(function.opset_import, self.defs, self.title)
        inner = _Scope(self, opsets, None, {**defaults, **attributes})
        inner.depth = scope.depth + 1
        for index, name in enumerate(function.input):
            inner.values[name] = inputs[index] if index < len(inputs) else None
        return [*self._inside(function.node, inner, list(function.output))]

    def _inside(self, nodes: Sequence[Any], scope: _Scope, outputs: Sequence[str]) -> list[Known]:
        if scope.depth > _DEEPEST:
            raise Error(f"graphs and functions are nested more than {_DEEPEST} deep")
        origin = self.recorder.origin
        self._run_nodes(nodes, scope, set(outputs))
        self.recorder.origin = origin
        results = [scope.find(name) for name in outputs]
        if any(isinstance(result, _Unknown) for result in results):
            raise _Reported
        if any(result is None for result in results):
            raise Error("a graph in it returns nothing as an output")
        return results                           # type: ignore[return-value]

    def _run_nodes(self, nodes: Sequence[Any], scope: _Scope, outputs: set[str]) -> None:
        used = {name for node in nodes for name in _uses(node)} | outputs
        for index, node in enumerate(nodes):
            self._steps += 1
            if self._steps > self._most:
                raise ModelImportError(f"{printable(self.title)} runs more than {self._most} "
                                       "nodes, those in functions and loops included")
            name = printable(node.name or (node.output[0] if node.output else ""))
            place = f"{name} (node {index})"
            results: Sequence[_Found]
            try:
                results = self._results(node, scope, used, index)
            except ModelImportError:
                raise
            except _Reported:
                results = [UNKNOWN] * len(node.output)
            except Exception as error:           # of a hostile file, whichever it is
                self.obstacles.add(_what(node, scope), _why(error), place)
                results = [UNKNOWN] * len(node.output)
            for name, value in zip(node.output, results, strict=False):
                if name and name in scope.values:
                    self.obstacles.add(_what(node, scope), f"the value {printable(name)!r} is "
                                       "computed twice", place)
                elif name:
                    scope.values[name] = value

    # -- nodes -------------------------------------------------------------------------------------

    def _results(self, node: Any, scope: _Scope, used: set[str], index: int
                 ) -> Sequence[_Found]:
        """Returns the outputs of a node, one for each that it names."""
        domain = _domain(node.domain)
        attributes = _attributes(node, scope)
        inputs = [scope.find(name) if name else None for name in node.input]
        row = OPERATORS.get((domain, node.op_type))
        if row is None:
            function = self._functions.get((domain, node.op_type, node.overload))
            if function is None:
                raise Error(_unsupported(node))
            return self._called(function, scope, inputs, attributes)
        version, schema = self._version(row, scope)
        if unknown := [name for name in attributes if name not in row.known_attributes]:
            raise Error(f"the attribute {printable(', '.join(unknown))} is not supported")
        if schema is not None:
            _check_signature(node, schema)
        if any(isinstance(value, _Unknown) for value in inputs):
            raise _Reported                      # its own obstacle has been noted
        needs = [bool(name) and name in used for name in node.output]
        given = Node(node.op_type, version, attributes, needs, self.tensors.array,
                     partial(self._subgraph, scope))
        layer = printable(f"{node.name} {node.op_type}")
        self.recorder.origin = Where(layer, printable(f"{self.title}:{index}"))
        results = self._computed(row, given, inputs)          # type: ignore[arg-type]
        for text in given.notes:
            self.notes[text] = None
        if unread := given.unread():
            raise Error(f"the attribute {printable(', '.join(unread))} is not supported here")
        if missing := [i for i, need in enumerate(needs) if need and i >= len(results)]:
            raise Error(f"its output {missing[0]} is not supported")
        return results

    def _version(self, row: Operator, scope: _Scope) -> tuple[int, Any]:
        """Returns the opset in which the operator got the meaning it has in this file.

        With it goes onnx's description of the operator, if it has one.
        Raises Error where the importer does not know that meaning.
        """
        if row.domain not in scope.opsets:
            raise Error(f"the file does not say which opset of {row.domain or 'ai.onnx'} it uses")
        key = (row.domain, row.name, scope.opsets[row.domain])
        if key not in self._schemas:
            self._schemas[key] = self._schema(*key)
        schema = self._schemas[key]
        version = _since(schema, key)
        if version is None or version not in row.versions:
            raise Error(f"opset {version or key[2]} of it is not supported, only those of "
                        f"{', '.join(map(str, row.versions))}")
        return version, schema

    def _schema(self, domain: str, name: str, opset: int) -> Any:
        """Returns onnx's description of an operator; None where it has none."""
        try:
            return self.defs.get_schema(name, opset, domain)
        except self.defs.SchemaError:
            return None

    def _computed(self, row: Operator, node: Node, values: Sequence[Known | None]
                  ) -> tuple[Known | None, ...]:
        """Returns what a row's function, or its counterpart for sizes, makes of the inputs."""
        fewest, most = row.arity
        while len(values) > most and values[-1] is None:
            values = values[:-1]
        if not fewest <= len(values) <= most or any(
                value is None for value in values[:int(fewest)]):
            raise Error(f"it has {len(values)} inputs, and {fewest} to {most} are supported")
        if any(isinstance(v, Sizes) and not row.has_role("static", i)
               and not row.has_role("lazy", i) for i, v in enumerate(values)):
            found = self._of_sizes(row, node, values)
            if found is not None:
                return found
        inputs = [self._argument(row, i, value) for i, value in enumerate(values)]
        result = row.function(node, *inputs)
        return result if isinstance(result, tuple) else (result,)

    def _argument(self, row: Operator, index: int, value: Known | None) -> Any:
        if value is None or row.has_role("lazy", index):
            return value
        if row.has_role("static", index):
            return self._numbers(value, row.parameter(index))
        return self._array(value)

    def _array(self, value: Known | None) -> Array:
        if value is None:
            raise Error("a value is used that an optional output does not have")
        return in_graph(value) if isinstance(value, Sizes) else value

    def _numbers(self, value: Known, what: str) -> NDArray:
        """Returns the numbers of an input that decides shapes, of objects for sizes.

        Raises Error where they are known in a call only.
        """
        if isinstance(value, Sizes):
            return value.elements
        payload = value._as_operand()
        if not isinstance(payload, Value):
            known: NDArray = bare(payload)
            return known
        if payload.kind == "parameter":
            self.read.add(payload.name)
            return self.recorder.builder.data[payload]
        inputs = self.recorder.inputs_of(payload)
        if not inputs:
            raise Error(f"its {what} is computed in a call, and has to be known before\n"
                        "do: shapes={...} with numbers for sizes, if it is computed of these")
        self.wanted.update(dict.fromkeys(inputs))
        names = ", ".join(printable(repr(name)) for name in inputs[:3])
        raise Error(f"its {what} decides shapes, and is computed from the input {names}\n"
                    f"do: constants={{{names.partition(', ')[0]}: ...}}, if it is always the same")

    def _of_sizes(self, row: Operator, node: Node, values: Sequence[Known | None]
                  ) -> tuple[Known, ...] | None:
        """Returns what an operator makes of arrays of sizes; None where that is not known."""
        dtype = next(v.dtype for v in values if isinstance(v, Sizes))
        try:
            if row.moves:
                return self._moved(row, node, values, dtype)
            if row.sizes is not None and all(map(_is_whole, values)):
                found = row.sizes(node, *[objects_of(v) for v in values if v is not None])
                return (_as_known(found, dtype),)
        except Error:                            # a call finds out, then, if anyone can
            pass
        return None

    def _moved(self, row: Operator, node: Node, values: Sequence[Known | None], dtype: str
               ) -> tuple[Known, ...] | None:
        """Returns moved sizes: the operator moves their numbers in one long list instead."""
        elements: list[Any] = []
        inputs: list[Any] = []
        for index, value in enumerate(values):
            if value is None or not row.has_role("moves", index):
                inputs.append(self._argument(row, index, value))
                continue
            if not _is_whole(value):
                return None
            objects = objects_of(value)
            numbers = np.arange(objects.size, dtype=np.int64) + len(elements)
            inputs.append(Array(numbers.reshape(objects.shape)))
            elements += objects.ravel().tolist()
        result = row.function(node, *inputs)
        arrays = result if isinstance(result, tuple) else (result,)
        everything = np.empty(len(elements), object)
        everything[:] = elements
        if not all(isinstance(a, Array) and isinstance(a._as_operand(), np.ndarray)
                   for a in arrays):
            return None
        return tuple(sizes_or_numbers(everything[a.numpy()], dtype) for a in arrays
                     if isinstance(a, Array))


class _Reported(Error):
    """A node whose obstacle has been noted already."""


def _is_whole(value: Known | None) -> bool:
    """Returns whether a value is sizes, or numbers that sizes can be computed with."""
    if value is None or isinstance(value, Sizes):
        return True
    payload = value._as_operand()
    return isinstance(payload, np.ndarray) and payload.dtype.kind in "iub"


def _as_known(found: Any, dtype: str) -> Known:
    """Returns the result of computing with sizes: sizes, or bools."""
    if isinstance(found, Sizes):
        return sizes_or_numbers(found.elements, found.dtype)
    objects = np.asarray(found, object)
    if objects.size and all(isinstance(e, bool | np.bool_) for e in objects.flat):
        return Array(objects.astype(np.bool_))
    return sizes_or_numbers(objects, dtype)


def _since(schema: Any, key: tuple[str, str, int]) -> int | None:
    if key[0] == "com.microsoft":                # of which onnx has no list
        return key[2]
    return int(schema.since_version) if schema is not None else None


def _check_signature(node: Any, schema: Any) -> None:
    """Raises Error where a node has what its operator got in a later opset, or never."""
    opset = f"which opset {schema.since_version} of it does not have"
    for attribute in node.attribute:
        if attribute.name not in schema.attributes:
            raise Error(f"the attribute {printable(attribute.name)} is not supported, {opset}")
    for names, most, what in ((node.input, schema.max_input, "inputs"),
                              (node.output, schema.max_output, "outputs")):
        count = max((i + 1 for i, name in enumerate(names) if name), default=0)
        if count > most:
            raise Error(f"it has {count} {what}, {opset}: {most} at most")


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else str(domain)


def _what(node: Any, scope: _Scope) -> str:
    domain = _domain(node.domain)
    opset = scope.opsets.get(domain)
    return (f"{domain + ': ' if domain else ''}{node.op_type or 'a node without an operator'}"
            f" (opset {opset if opset is not None else 'unknown'})")


def _why(error: Exception) -> str:
    if isinstance(error, Error):
        return str(error)
    return f"it is damaged, or not understood: {type(error).__name__}: {printable(str(error))}"


def _unsupported(node: Any) -> str:
    if node.op_type in ("Loop", "Scan"):
        return "loops are not supported"
    return "there is no such operator here; docs/onnx.md lists those that there are"


def _attributes(node: Any, scope: _Scope) -> dict[str, Any]:
    """Returns a node's attributes by name; in a function, those of the call in their places."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in found:
            raise Error(f"the attribute {printable(attribute.name)} is given twice")
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
            continue
        if scope.attributes is None:
            raise Error(f"the attribute {printable(attribute.name)} refers to a function, and this "
                        "is none")
        if attribute.ref_attr_name in scope.attributes:
            found[attribute.name] = scope.attributes[attribute.ref_attr_name]
    return found


def _uses(node: Any) -> Iterator[str]:
    """Yields the names that a node reads, those of graphs in its attributes included."""
    rest = [node]
    while rest:
        each = rest.pop()
        yield from each.input
        for attribute in each.attribute:
            if attribute.HasField("g"):
                rest += attribute.g.node
                yield from (info.name for info in attribute.g.output)


def _dims(info: Any) -> Sequence[Any]:
    return info.type.tensor_type.shape.dim if info.type.HasField("tensor_type") else ()


def _names_in_shape(given: Any) -> set[Any]:
    """Returns the sizes that one entry of `shapes=` has."""
    return set(given) if isinstance(given, tuple | list) else {given}


def _check_names(option: str, given: Mapping[str, Any], there: set[str], what: str) -> None:
    if wrong := [name for name in given if name not in there]:
        names = ", ".join(sorted(map(repr, there))) or "none"
        raise InputError(f"{option}: the model has no {wrong[0]!r}; its {what} are {names}")


def _check_whole_shapes(given: Mapping[str, Any], inputs: set[str]) -> None:
    for name in inputs & given.keys():
        if not isinstance(given[name], tuple | list):
            raise InputError(f"shapes: {name!r} is an input, and is given {describe(given[name])}\n"
                             "  do: give it a tuple of all its sizes, or give one size by the "
                             "file's name for it")


def _opsets(imports: Sequence[Any], defs: Any, title: str) -> dict[str, int]:
    """Returns the opset of each domain. Raises ModelImportError for one that is too new."""
    opsets: dict[str, int] = {}
    for each in imports:
        version = opsets.setdefault(_domain(each.domain), int(each.version))
        if version != each.version:
            raise ModelImportError(f"{printable(title)} uses opset {version} of "
                                   f"{printable(_domain(each.domain)) or 'ai.onnx'} and also "
                                   f"{each.version}")
    if not opsets:
        raise ModelImportError(f"{printable(title)} is no whole ONNX file: it does not say which "
                               "opset it uses")
    newest = defs.onnx_opset_version()
    if opsets.get("", 0) > newest:
        raise ModelImportError(f"{printable(title)} uses opset {opsets['']}, and the package onnx "
                               f"that is installed knows those up to {newest}\n  do: install a "
                               "newer onnx")
    return opsets
