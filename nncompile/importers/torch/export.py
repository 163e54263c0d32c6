"""Exports a torch module: examples whose sizes can change, and what torch.export makes of them."""
from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ir import Error, parse_type
from ir.records import dataclass
from ir.types import DTYPES, DimExpr, symbol_name
from nncompile.array import Array, describe
from nncompile.errors import InputError, ModelImportError
from nncompile.extras import import_extra
from nncompile.importers.names import printable
from nncompile.importers.torch.targets import TARGETS
from nncompile.structure import Inputs, flatten
from nncompile.trace import bind

# Of named sizes. Neither they nor their halves and quarters are 0 or 1, which torch.export would
# fix; and they can be divided, as by a forward that cuts an axis into windows.
_EXAMPLE_SIZES = (8, 12, 20, 28, 36, 44, 52, 60)


@dataclass(frozen=True)
class Exported:
    """An exported program, and how its inputs are named.

    module: what was exported, None for a program that was given. program: torch's. inputs: the
    structure of the arguments. examples: the tensors in them, in order. names: for each of these
    the name of the size of each axis, or None where it is fixed.
    """

    module: Any
    program: Any
    title: str
    inputs: Inputs
    examples: Sequence[Any]
    names: Sequence[Sequence[str | None]]

    def unflatten(self, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Returns the arguments with these arrays in them: by position, and by name."""
        return self.inputs.unflatten(leaves, self.inputs.positional)


def export(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any],
           dynamic: Mapping[str, Any]) -> Exported:
    """Returns the exported form of a torch module or of an ExportedProgram.

    Raises InputError for examples that do not fit, and ModelImportError where torch refuses.
    """
    torch = import_extra("torch", "torch", "a torch module")
    title = f"the torch module {type(module).__name__}"
    if isinstance(module, torch.export.ExportedProgram):
        if args or kwargs or dynamic:
            raise InputError("an ExportedProgram has its inputs and its dynamic sizes: give "
                             "nothing else")
        return _given(module)
    if not isinstance(module, torch.nn.Module):
        raise InputError("from_torch takes a torch.nn.Module or a torch.export.ExportedProgram, "
                         f"not an object of type {type(module).__name__}")
    signature = inspect.signature(module.forward)
    inputs, leaves = bind(type(module).__name__, signature, args, kwargs, _is_example)
    names = _leaf_names(inputs)
    axes, examples = _examples(torch, names, leaves, dynamic)
    args, kwargs = inputs.unflatten(examples, inputs.positional)
    shapes = iter([{axis: torch.export.Dim.AUTO for axis, name in enumerate(sizes) if name}
                   for sizes in axes])
    wanted = _shapes_of((tuple(args), kwargs), shapes)
    try:
        with quiet(), torch.no_grad(), _without_var_keyword(module, signature, kwargs) as spelled:
            # By parameter of the forward, of which *args is one.
            specs = dict(spelled.bind(*wanted[0], **wanted[1]).arguments)
            program = torch.export.export(module, tuple(args), kwargs or None,
                                          dynamic_shapes=specs)
            program = _functional(torch, program)
    except Exception as error:                   # torch has no rules about what it raises
        raise ModelImportError(
            f"{title} cannot be imported: torch.export cannot export it\n"
            f"  {type(error).__name__}: {printable(_first_lines(error))}\n  do: change the forward "
            "so that torch.export takes it, or write the model with nncompile.nn") from error
    return Exported(module, program, title, inputs, examples, axes)


def _given(program: Any) -> Exported:
    """Returns a program that was exported before."""
    import torch
    args, kwargs = program.example_inputs
    values = [*args, *kwargs.values()]
    names = [f"x{i}" for i in range(len(args))] + [*kwargs]
    signature = getattr(program.module_call_graph[0].signature, "forward_arg_names", None)
    if signature and len(signature) == len(values):
        names = list(signature)
    flat = [flatten(value, lambda leaf: isinstance(leaf, torch.Tensor)) for value in values]
    inputs = Inputs(tuple(names), tuple(part for _, part in flat), len(args))
    examples = [leaf for leaves, _ in flat for leaf in leaves]
    with quiet():
        program = _functional(torch, program)
    return Exported(None, program, "the exported program", inputs, examples,
                    [[None] * e.ndim for e in examples])


def _functional(torch: Any, program: Any) -> Any:
    """Returns a program without changes in place, in which calls that we know stay whole."""
    table = torch.export.default_decompositions()
    for target in list(table):
        if str(target).removeprefix("aten.") in TARGETS:
            table.pop(target)
    return program.run_decompositions(table)


@contextmanager
def _without_var_keyword(module: Any, signature: inspect.Signature, kwargs: Mapping[str, Any]
                         ) -> Iterator[inspect.Signature]:
    """Gives the forward a parameter for each keyword of a call that lands in its **kwargs.

    torch.export counts such keywords twice where sizes may change, and then refuses its own count.
    Yields the signature, which is the forward's own where nothing lands in **kwargs.
    """
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in kwargs
            if name not in {p.name for p in named}]
    if not more:
        yield signature
        return
    own, had_own = module.forward, "forward" in vars(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return own(*args, **kwargs)
    spelled = signature.replace(parameters=[*named, *more])
    forward.__signature__ = spelled              # type: ignore[attr-defined]
    module.forward = forward
    try:
        yield spelled
    finally:
        del module.forward
        if had_own:
            module.forward = own


@contextmanager
def quiet() -> Iterator[None]:
    """Torch warns of its own workings, which the caller can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split("\n\n", 1)[0].split())


# -- arguments -------------------------------------------------------------------------------------

def _is_example(value: Any) -> bool:
    return isinstance(value, str | np.ndarray | Array) or type(value).__module__ == "torch" or \
        hasattr(value, "data_ptr")


def _leaf_names(inputs: Inputs) -> tuple[str, ...]:
    names = inputs.leaf_names
    return names if len(set(names)) == len(names) else tuple(f"x{i}" for i in range(len(names)))


def _examples(torch: Any, names: Sequence[str], leaves: Sequence[Any],
              dynamic: Mapping[str, Any]) -> tuple[list[list[str | None]], list[Any]]:
    """Returns the names of the sizes of each example, and the examples as tensors.

    A size that may change and is 0 or 1 in the example becomes 2: torch would fix it.
    """
    if unknown := [name for name in dynamic if name not in names]:
        raise InputError(f"dynamic: there is no input {unknown[0]!r}; there are {', '.join(names)}")
    numbers: dict[str, int] = {}
    axes, tensors = [], []
    for name, leaf in zip(names, leaves, strict=True):
        try:
            sizes, tensor = _example(torch, leaf, numbers)
        except Error as error:
            raise InputError(f"input {name!r}: {error}") from None
        for axis, size in _axes_of(name, dynamic.get(name, {}), tensor.ndim):
            sizes[axis] = size
        axes.append(sizes)
        tensors.append(tensor)
    for k, (sizes, tensor) in enumerate(zip(axes, tensors, strict=True)):
        for axis, size in enumerate(sizes):
            if size is not None and tensor.shape[axis] < 2:
                tensor = (torch.cat([tensor, tensor], axis) if tensor.shape[axis] else
                          torch.zeros((*tensor.shape[:axis], 2, *tensor.shape[axis + 1:]),
                                      dtype=tensor.dtype))
        tensors[k] = tensor
    return axes, tensors


def _example(torch: Any, leaf: Any, numbers: dict[str, int]) -> tuple[list[str | None], Any]:
    """Returns the names of an example's sizes, and a tensor. numbers: of the sizes named so far."""
    if not isinstance(leaf, str):
        given = leaf.numpy() if isinstance(leaf, Array) else leaf
        tensor = torch.from_numpy(given.copy()) if isinstance(given, np.ndarray) else given.detach()
        return ["B" if axis == 0 else None for axis in range(tensor.ndim)], tensor
    type_ = parse_type(leaf)
    names: list[str | None] = []
    for dim in type_.shape:
        names.append(symbol_name(dim))
        if isinstance(dim, DimExpr) and names[-1] is None:
            raise Error(f"{leaf}: the size {dim} is neither a number nor a name")
        if names[-1] is not None:
            numbers.setdefault(names[-1], _EXAMPLE_SIZES[len(numbers) % len(_EXAMPLE_SIZES)])
    shape = [numbers[n] if n is not None else int(d)
             for n, d in zip(names, type_.shape, strict=True)]
    random = np.random.default_rng(0)
    dtype = DTYPES[type_.dtype]
    array = (random.standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)).astype(dtype)
    return names, torch.from_numpy(np.asarray(array))


def _axes_of(name: str, given: Any, rank: int) -> Iterator[tuple[int, str | None]]:
    if not isinstance(given, Mapping):
        raise InputError(f"dynamic: {name!r} is given {describe(given)}, and not the names of "
                         'sizes by axis, as {1: "T"}')
    for axis, size in given.items():
        if not isinstance(axis, int) or not -rank <= axis < rank:
            raise InputError(f"dynamic: {name!r} has {rank} axes, of which {axis!r} is none")
        yield axis % rank, size if isinstance(size, str) else None


def _shapes_of(tree: Any, shapes: Iterator[Any]) -> Any:
    """Returns torch.export's dynamic shapes: the same containers, with None for what is no tensor.
    """
    if hasattr(tree, "data_ptr"):
        return next(shapes)
    if isinstance(tree, Mapping):
        return {key: _shapes_of(value, shapes) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [_shapes_of(value, shapes) for value in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    return None


__all__ = ["Exported", "export", "quiet"]
