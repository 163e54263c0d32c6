"""Imports an exported program by running its calls, one by one, on arrays that record."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from os.path import basename
from typing import Any

import numpy as np

import ir
from ir import Error, NDArray, TensorType, Value, Where, type_of
from ir.check import example_inputs
from ir.graph import RELATIONS, Requirement
from ir.records import dataclass, replace
from ir.types import DTYPES, Dim, DimExpr, same, symbol
from nncompile.array import Array
from nncompile.array.dispatch import current
from nncompile.array.sizes import size_seen
from nncompile.errors import CompileError, InputError
from nncompile.importers.imported import Imported
from nncompile.importers.names import graph_name, printable, size_name
from nncompile.importers.obstacles import Obstacles
from nncompile.importers.recorder import ImportRecorder
from nncompile.importers.torch.export import Exported, quiet
from nncompile.importers.torch.guards import guards, ranges, size_of
from nncompile.importers.torch.targets import SIZE_FUNCTIONS, TARGETS
from nncompile.structure import Nesting, Structure, flatten

# Keywords about how memory is laid out, of which there is one way here.
_LAYOUT = ("device", "layout", "memory_format", "pin_memory", "non_blocking")
_DTYPES = {str(dtype): dtype for dtype in DTYPES.values()}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ASSERT = "_assert_scalar.default"
_ASSERTS = ("_assert_tensor_metadata.default", "sym_constrain_range_for_size.default",
            "sym_constrain_range.default")       # the program's range constraints say the same
_OPS = {*TARGETS, *_ASSERTS, _ASSERT}
_FUNCTIONS = {*_COMPARISONS, *SIZE_FUNCTIONS}
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5                # both sides compute in float32


class _Unknown:
    """What a call that is an obstacle would have computed."""


_UNKNOWN = _Unknown()


@dataclass(frozen=True)
class _Comparison:
    """A comparison of sizes, which an assertion turns into a requirement."""

    left: Dim
    relation: str
    right: Dim


class Importer:
    """One import of one exported program."""

    def __init__(self, exported: Exported) -> None:
        self.exported, self.program = exported, exported.program
        self.recorder = ImportRecorder()
        self.obstacles = Obstacles()
        self.values: dict[Any, Any] = {}         # by node
        self.parameters: dict[Any, Value] = {}   # by place in memory: tied ones are one
        self.names: dict[str, str] = {}
        self.symbols: dict[str, Dim] = {}        # torch's symbol -> our size

    def run(self) -> Imported:
        """Returns the graph. Raises ModelImportError, which lists all obstacles."""
        token = current.set(self.recorder)
        try:
            self._refuse_changes()
            self._inputs()
            for node in self.program.graph.nodes:
                if node.op == "call_function":
                    self.values[node] = self._call(node)
            outputs, structure = self._outputs()
        finally:
            current.reset(token)
        if self.obstacles:
            raise self.obstacles.error(self.exported.title)
        module = self.exported.module
        graph = self.recorder.builder.build(graph_name(type(module).__name__ if module is not None
                                                       else "program"), outputs)
        ir.verify(graph, built=True)
        try:
            needed = self._requirements(graph)
        except Error as error:
            self.obstacles.add("the sizes", str(error), type(self.exported.module).__name__)
            raise self.obstacles.error(self.exported.title) from None
        graph = replace(graph, requirements=(*graph.requirements, *needed))
        nesting = Nesting(self.exported.inputs, structure)
        state = self.program.state_dict
        return Imported(graph, self._check(graph), nesting,
                        {name: self.names.get(name, "") for name in state})

    # -- what goes in ------------------------------------------------------------------------------

    def _refuse_changes(self) -> None:
        """Notes buffers and inputs that the forward changes: a graph has no state."""
        signature = self.program.graph_signature
        for what in ("buffers_to_mutate", "parameters_to_mutate", "user_inputs_to_mutate"):
            for name in getattr(signature, what, {}).values():
                self.obstacles.add("a change of state", "the forward changes it, in every call "
                                   "anew", name)

    def _inputs(self) -> None:
        """Declares the inputs, and finds the numbers of everything else that is given."""
        signature = self.program.graph_signature
        kinds = {spec.arg.name: spec for spec in signature.input_specs}
        placeholders = [n for n in self.program.graph.nodes if n.op == "placeholder"]
        inputs = iter(zip(self.exported.inputs.leaf_names, self.exported.names, strict=True))
        taken: set[str] = {name for sizes in self.exported.names for name in sizes if name}
        for node in placeholders:
            spec = kinds[node.name]
            kind = spec.kind.name
            if kind != "USER_INPUT":
                saved = kind == "PARAMETER" or (kind == "BUFFER" and bool(spec.persistent))
                self.values[node] = _Held(spec.target, saved)
            elif hasattr(node.meta.get("val"), "shape"):
                name, sizes = next(inputs)
                self.values[node] = self._input(name, sizes, node.meta["val"], taken)

    def _input(self, name: str, sizes: Sequence[str | None], example: Any, taken: set[str]) -> Any:
        """Returns an input. A size that should change and cannot is an obstacle."""
        try:
            dtype = _dtype(example.dtype)
            dims = []
            for axis, (wanted, found) in enumerate(zip(sizes, example.shape, strict=True)):
                dim = found if isinstance(found, int) else self._named(
                    found, wanted or f"{name}_{axis}", wanted is None, taken)
                if isinstance(dim, int) and wanted is not None:
                    raise Error(f"its size {wanted}, of axis {axis}, cannot change: the forward "
                                f"works for {dim} only, as torch.export finds\ndo: "
                                f"dynamic={{{name!r}: {{{axis}: {dim}}}}} fixes it"
                                + self._recurrent())
                dims.append(dim)
            type_ = TensorType(type_of(np.empty(0, dtype)).dtype, tuple(dims))
            return Array(self.recorder.declare("input", name, type_))
        except Error as error:
            self.obstacles.add("an input", str(error), name)
            return _UNKNOWN

    def _recurrent(self) -> str:
        """Returns what to know of the module's recurrent layers, which fix the sizes they go along.
        """
        layers = [f"{name or 'it'} ({type(part).__name__})" for name, part in
                  getattr(self.exported.module, "named_modules", dict)()
                  if hasattr(part, "flatten_parameters")]
        what = "\nrecurrent layers are written out for one number of steps: "
        return what + ", ".join(layers) if layers else ""

    def _named(self, dim: Any, name: str, made_up: bool, taken: set[str]) -> Dim:
        """Returns the size that torch's symbol is, under a readable name."""
        expression = dim.node.expr
        key = str(expression)
        if not expression.is_Symbol:
            return size_of(expression, self.symbols)
        if key not in self.symbols:
            self.symbols[key] = symbol(size_name(name, taken) if made_up else name)
        return self.symbols[key]

    def _held(self, held: _Held) -> Any:
        """Returns a parameter or buffer, declared when it is used first, or a constant."""
        program = self.program
        tensor = (program.state_dict if held.saved else program.constants)[held.name]
        if not hasattr(tensor, "untyped_storage"):
            raise Error(f"{held.name} is a {type(tensor).__name__}, and no tensor")
        _dtype(tensor.dtype)
        data: NDArray = np.array(tensor.detach().cpu().contiguous().numpy(), order="C")
        if not held.saved:
            return Array(data)
        place = _place(tensor, held.name)
        if place not in self.parameters:
            self.parameters[place] = self.recorder.declare("parameter", held.name, type_of(data),
                                                           data)
        for name in program.state_dict:
            if _place(program.state_dict[name], name) == place:
                self.names[name] = self.parameters[place].name
        return Array(self.parameters[place])

    # -- calls -------------------------------------------------------------------------------------

    def _call(self, node: Any) -> Any:
        """Returns what a call computes, or _UNKNOWN after noting why it cannot."""
        self.recorder.origin = _where(node)
        is_op = hasattr(node.target, "_schema")
        what = str(node.target) if is_op else node.target.__name__
        name = what.removeprefix("aten.")
        try:
            if name not in (_OPS if is_op else _FUNCTIONS):
                raise Error("it has no counterpart here; docs/import.md lists those that have")
            args = [self._argument(a) for a in node.args]
            kwargs = {key: self._argument(a) for key, a in node.kwargs.items()
                      if key not in _LAYOUT}
            if any(isinstance(a, _Unknown) for a in _leaves([*args, *kwargs.values()])):
                return _UNKNOWN                  # its own obstacle has been noted
            return self._computed(name, args, kwargs)
        except Exception as error:
            why = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            place = self.recorder.origin
            self.obstacles.add(what, why, " ".join(filter(None, (place.layer, place.line)))
                               or node.name)
            return _UNKNOWN

    def _computed(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if name in TARGETS:
            return TARGETS[name](*map(_seen, args), **{k: _seen(a) for k, a in kwargs.items()})
        if name in _ASSERTS:
            return None
        if name == _ASSERT:
            return self._require(args[0])
        if name in SIZE_FUNCTIONS:
            return SIZE_FUNCTIONS[name](*args, **kwargs)
        left, right = args
        if isinstance(left, DimExpr) or isinstance(right, DimExpr):
            return _Comparison(left, _COMPARISONS[name], right)
        return RELATIONS[_COMPARISONS[name]](left, right)

    def _require(self, condition: Any) -> None:
        if isinstance(condition, _Comparison):
            self.recorder.builder.require(condition.left, condition.relation, condition.right,
                                          self.recorder.origin)
        elif condition is not True:
            raise Error(f"it asserts {condition!r}, which is no comparison of sizes")

    def _argument(self, given: Any) -> Any:
        """Returns an argument of a call: our arrays and dtypes in place of torch's."""
        if given in self.values if hasattr(given, "op") else False:
            value = self.values[given]
            if isinstance(value, _Held):
                value = self.values[given] = self._held(value)
            return value
        if isinstance(given, list | tuple):
            return [self._argument(each) for each in given]
        return _dtype(given) if type(given).__name__ == "dtype" else given

    # -- what comes out ----------------------------------------------------------------------------

    def _outputs(self) -> tuple[list[Value], Structure]:
        """Returns the values of the outputs, and how the module nests them."""
        from torch.utils import _pytree
        node, = (n for n in self.program.graph.nodes if n.op == "output")
        results = []
        specs = self.program.graph_signature.output_specs
        for spec, given in zip(specs, node.args[0], strict=True):
            if spec.kind.name != "USER_OUTPUT":
                continue
            try:
                results.append(self._argument(given))
            except Error as error:
                self.obstacles.add("an output", str(error), spec.arg.name)
                results.append(_UNKNOWN)
        tree = _pytree.tree_unflatten(results, self.program.call_spec.out_spec)
        arrays, structure = flatten(tree, lambda leaf: isinstance(leaf, Array))
        if not arrays and not self.obstacles:
            self.obstacles.add("the outputs", "there is no tensor among them",
                               type(self.exported.module).__name__)
        return [self.recorder.value(a._as_operand()) for a in arrays], structure

    # -- sizes that the program is for -------------------------------------------------------------

    def _requirements(self, graph: ir.Graph) -> list[Requirement]:
        """Returns what the program requires of its sizes. Raises Error where that cannot be said.
        """
        def agrees(sizes: Mapping[str, int]) -> bool:
            return self.exported.module is not None and self._agrees(graph, sizes)
        return [*ranges(self.program, self.symbols, agrees),
                *guards(self.program, self.symbols, agrees)]

    def _agrees(self, graph: ir.Graph, sizes: Mapping[str, int]) -> bool:
        """Returns whether the graph and the module agree for these sizes, by torch's symbols.

        torch may have several symbols for what the caller gave one name.
        """
        import torch
        sizes = {other: number for key, number in sizes.items()
                 for other in self.symbols if same(self.symbols[other], self.symbols[key])}
        tensors = []
        for axes, example in zip(self._axes(sizes), self.exported.examples, strict=True):
            for axis, size in axes.items():
                example = example.index_select(axis, torch.arange(size) % example.shape[axis])
            # Examples are often zeros, of which too much is true.
            tensors.append(torch.randn(example.shape, dtype=example.dtype,
                                       generator=torch.Generator().manual_seed(0))
                           if example.is_floating_point() else example)
        args, kwargs = self.exported.unflatten(tensors)
        try:
            with quiet(), torch.no_grad():
                expected, _ = _tensors(self.exported.module(*args, **kwargs))
            results = ir.interpret(graph, [t.detach().cpu().numpy() for t in tensors])
        except Exception:
            return False
        return len(results) == len(expected) and not any(map(_difference, results, expected))

    def _axes(self, sizes: Mapping[str, int]) -> Iterator[dict[int, int]]:
        """Yields for each input the sizes of those axes that are one of these symbols."""
        inputs = self.program.graph_signature.user_inputs
        for node in self.program.graph.nodes:
            if node.name in inputs and isinstance(self.values.get(node), Array):
                yield {axis: sizes[str(dim.node.expr)]
                       for axis, dim in enumerate(node.meta["val"].shape)
                       if not isinstance(dim, int) and str(dim.node.expr) in sizes}

    def _check(self, graph: ir.Graph) -> Callable[[Callable[..., Any]], None]:
        """Returns a function that compares a compiled model with the module."""
        def check(run: Callable[..., Any]) -> None:
            import torch
            module = self.exported.module or self.program.module()
            tried = 0
            for size, kind in ((3, "normal"), (2, "zero"), (5, "extreme"), (8, "normal"),
                               (12, "normal")):
                arrays = example_inputs(graph, size, kind=kind)
                args, kwargs = self.exported.unflatten(
                    [torch.from_numpy(np.array(a)) for a in arrays])
                try:
                    with quiet(), torch.no_grad():
                        expected, theirs = _tensors(module(*args, **kwargs))
                except Exception:                # inputs that the module refuses prove nothing
                    continue
                try:
                    result = run(*args, **kwargs)
                except InputError:               # nor do those that the forward would branch for
                    continue
                results, ours = flatten(result, lambda a: isinstance(a, np.ndarray))
                tried += 1
                if [*map(repr, ours.constants())] != [*map(repr, theirs.constants())]:
                    raise CompileError(f"{self.exported.title}: what it returns beside tensors "
                                       f"differs from torch's, for {kind} inputs")
                if different := _differing(results, expected, module, args, kwargs,
                                       kind == "extreme"):
                    raise CompileError(f"{self.exported.title}: {different}, for {kind} inputs")
            if not tried:
                raise CompileError(f"{self.exported.title} could not be checked: it refuses all "
                                   "inputs that were tried")
        return check


@dataclass(frozen=True)
class _Held:
    """A parameter, buffer or constant of the program that no call has used yet."""

    name: str
    saved: bool                                  # in the state dict


def _place(tensor: Any, name: str) -> Any:
    """Returns where a tensor is in memory, which tied ones have in common."""
    if not hasattr(tensor, "untyped_storage"):
        return None
    return (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape),
            tuple(tensor.stride()), str(tensor.dtype), name if not tensor.numel() else "")


def _dtype(dtype: Any) -> np.dtype[Any]:
    """Returns NumPy's dtype for torch's. Raises Error for one that the graph language lacks."""
    name = str(dtype).removeprefix("torch.")
    if name in _DTYPES:
        return _DTYPES[name]
    hint = "\ndo: call float() of the module" if name in ("float16", "bfloat16") else ""
    raise Error(f"the dtype {name} is not supported, only {', '.join(_DTYPES)}{hint}")


def _where(node: Any) -> Where:
    """Returns the module that a call belongs to, and the line of the forward that makes it."""
    stack = [*node.meta.get("nn_module_stack", {}).values()]
    path, kind = stack[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else kind.__name__
    layer = f"{re.sub(r'^L..self..[.]?', '', str(path))} {kind.rpartition('.')[2]}".strip()
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if "/torch/nn/modules/" not in file]
    line = f"{basename(own[-1][0])}:{own[-1][1]}" if own else ""
    return Where(printable(layer), printable(line))


def _seen(given: Any) -> Any:
    """Returns an argument as functions of arrays take it: sizes in it answer for every call."""
    return [*map(_seen, given)] if isinstance(given, list) else size_seen(given)


def _leaves(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _tensors(result: Any) -> tuple[list[NDArray], Structure]:
    """Returns the tensors in what a module returned, as arrays, and what is around them."""
    leaves, structure = flatten(result, lambda leaf: hasattr(leaf, "data_ptr"))
    return [leaf.detach().cpu().numpy() for leaf in leaves], structure


def _differing(results: Sequence[NDArray], expected: Sequence[NDArray], module: Any,
               args: Sequence[Any], kwargs: Mapping[str, Any], extreme: bool) -> str:
    """Returns in words where results differ from torch's, or nothing.

    Where torch overflows and the module does not in float64, a result has to be that of float64, or
    has to overflow, too. Of extreme inputs it may also overflow alone: sums near the largest number
    do in one order, and not in another.
    """
    if not any(map(_difference, results, expected)):
        return ""
    exact = _in_float64(module, args, kwargs) or expected
    for number, (ours, theirs, wide) in enumerate(zip(results, expected, exact, strict=True)):
        if ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.dtype.kind == "f":
            with np.errstate(all="ignore"):
                wide = wide.astype(ours.dtype)
            overflow = np.isfinite(wide) & ~np.isfinite(theirs)
            if extreme:
                overflow |= np.isfinite(wide) & ~np.isfinite(ours)
            theirs = np.where(overflow, np.where(np.isfinite(ours), wide, ours), theirs)
        if words := _difference(ours, theirs):
            return f"output {number} differs from torch's: {words}"
    return ""


def _in_float64(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[NDArray]:
    """Returns what a module gives in float64; nothing where it cannot compute in it."""
    import torch
    from torch.utils import _pytree

    def widened(leaf: Any) -> Any:
        is_float = isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        return leaf.double() if is_float else leaf
    wide, named = _pytree.tree_map(widened, (list(args), dict(kwargs)))
    try:
        with quiet(), torch.no_grad():
            exact, _ = _tensors(deepcopy(module).double()(*wide, **named))
    except Exception:                            # it has float32 written in its forward
        return []
    return exact


def _difference(ours: NDArray, theirs: NDArray) -> str:
    """Returns how results differ in words, or nothing where they agree as float32 can."""
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{ours.dtype}{list(ours.shape)} is not {theirs.dtype}{list(theirs.shape)}"
    finite = np.isfinite(theirs)
    scale = float(np.abs(theirs[finite], dtype=np.float64).max(initial=0)) \
        if theirs.dtype.kind == "f" else 0.0
    close = np.isclose(ours, theirs, _RELATIVE, _ABSOLUTE * scale, equal_nan=True)
    if close.all():
        return ""
    return f"{int((~close).sum())} of {close.size} elements"
