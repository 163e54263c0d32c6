"""The cost of each way to spell a call: `python -m benchmarks.calls`.

The models do next to nothing, so that what is timed is the call. Each spelling is timed beside the
plain call of the same model, and where the call has to copy an input, beside NumPy's own copy of
it. All are timed in turn, again and again, and the least of each counts. docs/how-to/calls.md
explains what the spellings mean.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import nncompile
from nncompile import nn

_ROWS, _COLUMNS = 4, 16
_A_TURN = 100                                 # calls that one reading of the clock covers


class _Pair(nn.Module):
    def forward(self, left: Any, right: Any) -> Any:
        return left + right, left - right


class _Nested(nn.Module):
    def forward(self, batch: Any, scale: float = 1.0) -> Any:
        return {"sum": batch["left"] + batch["right"]}


class Case(NamedTuple):
    """A way to spell a call of `plain`'s model; `copy` is NumPy's copy of the inputs it copies."""

    name: str
    call: Callable[[], object]
    plain: Callable[[], object]
    copy: Callable[[], object] | None = None


def cases() -> list[Case]:
    """Returns the spellings."""
    one = nncompile.compile(nn.ReLU(), f"f32[B, {_COLUMNS}]")
    pair = nncompile.compile(_Pair(), *[f"f32[B, {_COLUMNS}]"] * 2)
    whole = nncompile.compile(nn.ReLU(), f"i64[B, {_COLUMNS}]")
    double = nncompile.compile(nn.ReLU(), f"f64[B, {_COLUMNS}]")
    kind = f"f32[B, {_COLUMNS}]"
    nested = nncompile.compile(_Nested(), {"left": kind, "right": kind})
    x = np.random.default_rng(0).standard_normal((_ROWS, _COLUMNS), np.float32)
    y, ids = x + 1, np.arange(x.size).reshape(x.shape)
    out, outs = np.empty_like(x), (np.empty_like(x), np.empty_like(x))
    wide, byte = np.tile(x, 2)[:, ::2], ids.astype(np.uint8)
    int32, wide_x, listed = ids.astype(np.int32), x.astype(">f4"), x.tolist()
    x64, batch = x.astype(np.float64), {"left": x, "right": y}
    bound = pair.bind(x, y, out=outs)

    def plain() -> object:
        return one(x)

    def plain_pair() -> object:
        return pair(x, y)

    return [
        Case("fast(x)", plain, plain),
        Case("fast(x, out=y)", lambda: one(x, out=out), plain),
        Case("fast(x, threads=1)", lambda: one(x, threads=1), plain),
        Case("fast(x, out=y, threads=1)", lambda: one(x, out=out, threads=1), plain),
        Case("fast(input=x)", lambda: one(input=x), plain),
        Case("fast(a, b)", plain_pair, plain_pair),
        Case("fast(a, right=b)", lambda: pair(x, right=y), plain_pair),
        Case("fast(left=a, right=b)", lambda: pair(left=x, right=y), plain_pair),
        Case("fast(a, b, out=(c, d))", lambda: pair(x, y, out=outs), plain_pair),
        Case("fast(a, b, out=[c, d])", lambda: pair(x, y, out=list(outs)), plain_pair),
        Case("fast.bind(a, b, out=(c, d))()", bound, plain_pair),
        Case('fast({"left": a, "right": b})', lambda: nested(batch), plain_pair),
        Case("strided", lambda: one(wide), plain, lambda: np.ascontiguousarray(wide)),
        Case("strided, out=y", lambda: one(wide, out=out), plain,
             lambda: np.ascontiguousarray(wide)),
        Case("byte-swapped", lambda: one(wide_x), plain, lambda: wide_x.astype(np.float32)),
        Case("uint8 for f32", lambda: one(byte), plain, lambda: byte.astype(np.float32)),
        Case("int32 for i64", lambda: whole(int32), lambda: whole(ids),
             lambda: int32.astype(np.int64)),
        Case("float32 for f64", lambda: double(x), lambda: double(x64),
             lambda: x.astype(np.float64)),
        Case("list of floats", lambda: one(listed), plain,
             lambda: np.asarray(listed, np.float32)),
        *_torch_cases(one, x, plain),
    ]


def _torch_cases(one: Callable[..., Any], x: np.ndarray[Any, Any], plain: Callable[[], object]
                 ) -> list[Case]:
    try:
        import torch
    except ImportError:
        return []
    tensor, half = torch.from_numpy(x), torch.from_numpy(x).bfloat16()
    parameter = torch.nn.Parameter(tensor)
    return [
        Case("torch tensor", lambda: one(tensor), plain, lambda: np.asarray(tensor)),
        Case("torch tensor, strided", lambda: one(tensor.T.contiguous().T), plain,
             lambda: np.ascontiguousarray(tensor.T.contiguous().T)),
        Case("torch parameter", lambda: one(parameter), plain,
             lambda: np.asarray(parameter.detach())),
        Case("torch bfloat16", lambda: one(half), plain, lambda: np.asarray(half.float())),
    ]


def least(functions: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Returns the microseconds of a call of each: the least of so many turns, taken in turn."""
    best = [float("inf")] * len(functions)
    for _ in range(turns):
        for i, function in enumerate(functions):
            start = perf_counter()
            for _ in range(_A_TURN):
                function()
            best[i] = min(best[i], perf_counter() - start)
    return [1e6 * seconds / _A_TURN for seconds in best]


def table(turns: int) -> str:
    """Returns the table of all spellings, in microseconds."""
    rows = ["| call | takes | plain | NumPy's copy | beyond both |", "|---|---|---|---|---|"]
    for name, *functions in cases():
        call, plain, *copy = least([f for f in functions if f], turns)
        beyond = call - plain - sum(copy)
        rows.append(f"| `{name}` | {call:.2f} | {plain:.2f} | "
                    + (f"{copy[0]:.2f}" if copy else "") + f" | {beyond:.2f} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.calls", description=str(__doc__))
    parser.add_argument("--turns", type=int, default=200)
    sys.stdout.write(table(parser.parse_args(arguments).turns) + "\n")


if __name__ == "__main__":
    main()
