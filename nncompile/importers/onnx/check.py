"""Compares an imported model with ONNX's own reference, on random and on edge inputs."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ir import Graph, NDArray
from ir.check import example_inputs
from ir.graph import named_sizes
from nncompile.errors import CompileError
from nncompile.extras import import_extra
from nncompile.importers.names import printable
from nncompile.importers.onnx.reader import Tensors, inlined
from nncompile.importers.onnx.reference import corrections

_TRIALS = ((1, "normal"), (3, "normal"), (2, "positive"), (4, "zero"), (3, "nan"), (3, "extreme"))
_SPECIAL = ("nan", "extreme")                    # where one may have a limit, and the other NaN
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5                # of the largest element: both are float32


def check_against_reference(proto: Any, title: str, tensors: Tensors, graph: Graph,
                            constants: Mapping[str, Any], run: Callable[..., Any]) -> None:
    """Raises CompileError where the results differ from onnx.reference's.

    proto: what was imported, as this graph, and tensors: what reads its numbers. constants: as they
    were given. run: the compiled model.
    Inputs that the reference refuses prove nothing; where it takes none, that is an error too.
    """
    evaluate = _reference(inlined(proto, tensors), title)
    tried = 0
    sizes = [*named_sizes(graph)]
    for size, kind in _TRIALS:
        arrays = example_inputs(graph, size, kind=kind)
        given = dict(zip([v.name for v in graph.inputs], arrays, strict=True))
        try:
            expected = evaluate({**{n: np.asarray(c) for n, c in constants.items()}, **given})
        except Exception:                        # it has no rules about what it raises
            continue
        results = run(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        tried += 1
        at = ", ".join(f"{name} = {size + i}" for i, name in enumerate(sizes))
        for number, (ours, theirs) in enumerate(zip(results, expected, strict=True)):
            if difference := _difference(ours, np.asarray(theirs), kind in _SPECIAL):
                raise CompileError(f"{printable(title)}: output {number} differs from "
                                   f"onnx.reference, for {kind} inputs{' at ' * bool(at)}{at}: "
                                   f"{difference}")
    if not tried:
        raise CompileError(f"{printable(title)} could not be checked: onnx.reference computes it "
                           "for none of the inputs that were tried")


def _reference(proto: Any, title: str) -> Callable[[Mapping[str, NDArray]], list[Any]]:
    reference = import_extra("onnx.reference", "onnx", "an ONNX model")
    try:
        evaluator = reference.ReferenceEvaluator(proto, new_ops=corrections(proto))
    except Exception as error:
        raise CompileError(f"{printable(title)} could not be checked: onnx.reference does not load "
                           f"it: {printable(str(error))}") from None

    def evaluate(inputs: Mapping[str, NDArray]) -> list[Any]:
        with np.errstate(all="ignore"):
            return list(evaluator.run(None, dict(inputs)))
    return evaluate


def _difference(ours: NDArray, theirs: NDArray, special: bool) -> str:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{ours.dtype}{list(ours.shape)} is not {theirs.dtype}{list(theirs.shape)}"
    if ours.dtype.kind != "f":
        wrong = (ours != theirs) & (not special)
    else:
        finite = np.isfinite(theirs)
        size = float(np.abs(theirs[finite], dtype=np.float64).max(initial=0))
        wrong = ~np.isclose(ours, theirs, _RELATIVE, _ABSOLUTE * max(size, 1e-30), equal_nan=True)
        both = finite & np.isfinite(ours)
        wrong &= both if special else finite | np.isfinite(ours)
    if not wrong.any():
        return ""
    first = tuple(int(k) for k in np.argwhere(wrong)[0])
    return (f"{int(wrong.sum())} of {wrong.size} elements, the first at {first}: "
            f"{ours[first]} is not {theirs[first]}")



