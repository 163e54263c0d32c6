"""Hypothesis strategy: random forwards, as Python text that torch and nncompile both run.

    @given(programs())
    def test(program):
        wanted = program.run(torch, F, inputs)       # a list of tensors or arrays

A program is grown a line at a time beside torch, which says what is legal: a line that torch
refuses is kept apart, in `refused`, and has to be refused by us, too. Beside each value stands the
one that torch computes in double precision; the distance of the two says how exact a result has to
be, and a line with whole numbers or truths that come out differently is left out.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

DTYPES = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "int32": np.int32,
          "bool": np.bool_}
SIZES = (1, 2, 3, 5, 0)
RETURNED = 3


@dataclass
class Program:
    """Lines that compute with the inputs x0, x1, ... and the parameters w0, w1, ..."""

    inputs: dict[str, np.ndarray]
    params: dict[str, np.ndarray] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    tolerances: list[float] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)     # after so many lines

    def __repr__(self) -> str:
        given = [f"{name}: {a.dtype}{list(a.shape)}"
                 for name, a in (self.inputs | self.params).items()]
        lines = "\n".join([f"def forward({', '.join(given)}):", *self.lines,
                           f"return {', '.join(self.returned)}"])
        return lines.replace("\n", "\n    ")

    def run(self, library: Any, functional: Any, values: dict[str, Any]) -> list[Any]:
        """What it returns for these inputs and parameters, which are arrays of the library."""
        names = {"n": library, "F": functional, **values}
        quietly("\n".join(self.lines), names)
        return [names[name] for name in self.returned]


def quietly(lines: str, names: dict[str, Any]) -> None:
    """Run them without what torch and we have to say about shapes and types of old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(lines, names)


class Growth:
    """A program under construction, its values in torch, and the choices still to be drawn."""

    def __init__(self, draw: st.DrawFn) -> None:
        import torch
        import torch.nn.functional as F

        self.draw, self.torch = draw, torch
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.program = Program({})
        self.values: dict[str, Any] = {"n": torch, "F": F}
        self.exact: dict[str, Any] = {"n": torch, "F": F}
        self.names: list[str] = []
        self.count = 0

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    # -- values ------------------------------------------------------------------------------------

    def give(self, name: str, array: np.ndarray) -> str:
        """An input or a parameter."""
        tensor = self.torch.from_numpy(array.copy())
        self.values[name] = tensor
        self.exact[name] = tensor.double() if array.dtype == np.float32 else tensor.clone()
        return name

    def input(self, shape: tuple[int, ...], dtype: str) -> None:
        name = f"x{len(self.program.inputs)}"
        array = self.numbers(shape, DTYPES[dtype])
        self.program.inputs[name] = array
        self.names.append(self.give(name, array))

    def param(self, *shape: int, dtype: Any = np.float32) -> str:
        name = f"w{len(self.program.params)}"
        array = np.asarray(self.random.normal(0, 0.7, shape), dtype)
        self.program.params[name] = array
        return self.give(name, array)

    def numbers(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if dtype == np.bool_:
            return np.asarray(self.random.random(shape) < 0.5)
        if np.issubdtype(dtype, np.integer):
            return np.asarray(self.random.integers(-3, 6, shape), dtype)
        return np.asarray(self.random.normal(0, 1.5, shape), dtype)

    def pick(self, wanted: Callable[[Any], bool] = lambda t: True) -> str | None:
        """A value that is wanted, one of the last rather than one of the first."""
        fitting = [name for name in self.names if wanted(self.values[name])]
        if not fitting:
            return None
        return fitting[-1] if self.draw(st.booleans()) else self.choose(*fitting)

    def rank(self, name: str) -> int:
        return self.values[name].ndim

    def size(self, name: str, dim: int) -> int:
        return self.values[name].shape[dim]

    def dim(self, name: str) -> int:
        rank = max(self.rank(name), 1)
        return self.draw(st.integers(-rank, rank - 1))

    def dims(self, name: str) -> str:
        rank = self.rank(name)
        axes = self.draw(st.sets(st.integers(0, max(rank, 1) - 1), min_size=1))
        return self.choose(None, *map(str, axes), tuple(a - rank if rank and self.chance(2) else a
                                                        for a in sorted(axes)))

    def like(self, name: str) -> str:
        """Something to stand beside a value in arithmetic."""
        match self.choose("value", "value", "number", "number", "param"):
            case "number":
                return str(self.choose(2, -1, 0.5, 1.5, True, 3, -2.0, 0))
            case "param":
                shape = [self.choose(s, 1) for s in self.values[name].shape]
                start = self.draw(st.integers(0, len(shape)))
                return self.param(*shape[start:])
            case _:
                return self.pick() or name

    # -- lines -------------------------------------------------------------------------------------

    def add(self, text: str, changes: str | None = None) -> None:
        """A line: `text` is an expression, whose value gets a new name, or changes one that is
        there already."""
        line = text if changes else f"v{self.count} = {text}"
        before = self.copied() if changes else None
        try:
            quietly(line, self.values)
        except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError,
                ZeroDivisionError):
            self.program.refused.append((len(self.program.lines), line))
            self.restore(before)
            return
        if not self.in_double(line, changes) or not self.sound(changes or f"v{self.count}"):
            self.restore(before)
            return
        self.program.lines.append(line)
        if not changes:
            self.names.append(f"v{self.count}")
            self.count += 1

    def in_double(self, line: str, changes: str | None) -> bool:
        """The line again, in double precision, where .float() may have left two types to meet."""
        try:
            quietly(line, self.exact)
        except RuntimeError:
            made = self.values[f"v{self.count}"] if not changes else None
            if not isinstance(made, self.torch.Tensor):
                return False
            self.exact[f"v{self.count}"] = made.double() if made.is_floating_point() else made
        return True

    def copied(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What a line that changes something may have to give back: memory, base by base."""
        return [(space, {n: t for n, t in space.items() if isinstance(t, self.torch.Tensor)})
                for space in (self.values, self.exact)] + [
            ({}, {n: t.clone() for n, t in space.items() if isinstance(t, self.torch.Tensor)})
            for space in (self.values, self.exact)]

    def restore(self, before: Any) -> None:
        if before is None:
            return
        for (space, old), (_, numbers) in zip(before[:2], before[2:], strict=True):
            for name, tensor in old.items():
                space[name] = tensor
                # an expanded tensor shows numbers that are restored through its base
                if all(s != 0 or d == 1 for s, d in zip(tensor.stride(), tensor.shape,
                                                        strict=True)):
                    tensor.copy_(numbers[name])

    def sound(self, name: str) -> bool:
        """Whether every value, which a change may have reached, is as exact as it can be."""
        made = self.values[name]
        if not isinstance(made, self.torch.Tensor) or made.numel() > 3000 or made.ndim > 5:
            return False
        if str(made.dtype).removeprefix("torch.") not in DTYPES:
            return False
        return all(self.alike(self.values[n], self.exact[n]) for n in [*self.names, name])

    def alike(self, a: Any, b: Any) -> bool:
        if a.shape != b.shape or a.dtype.is_floating_point != b.dtype.is_floating_point:
            return False
        if not a.dtype.is_floating_point:
            return bool((a == b).all())
        a, b = a.double(), b.double()
        if a.numel() and float(self.torch.nan_to_num(b, 0, 0, 0).abs().max()) > 1e6:
            return False
        same = self.torch.isclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        return bool(same.all())

    def tolerance(self, name: str) -> float:
        a, b = self.values[name], self.exact[name]
        if not a.dtype.is_floating_point or not a.numel():
            return 0.0
        a, b = (self.torch.nan_to_num(t.double(), 0, 0, 0) for t in (a, b))
        size = max(1.0, float(b.abs().max()))
        least = 1e-5 if self.values[name].dtype == self.torch.float32 else 1e-6
        return least * size + 30 * float((a - b).abs().max())


@st.composite
def programs(draw: st.DrawFn, max_lines: int = 10, in_place: bool = True) -> Program:
    """A program of at most max_lines lines, with one to three inputs; in_place: some of its lines
    change what is there."""
    g = Growth(draw)
    rank = g.choose(2, 3, 1, 2, 0)
    shape = tuple(g.choose(*SIZES) for _ in range(rank))
    g.input(shape, g.choose("float32", "float32", *DTYPES))
    for _ in range(g.choose(0, 1, 2)):
        kept = [g.choose(s, s, 1) for s in shape][g.draw(st.integers(0, rank)):]
        g.input(tuple(kept), g.choose("float32", *DTYPES))
    steps = STEPS + CHANGES if in_place else STEPS
    for _ in range(draw(st.integers(1, max_lines))):
        g.choose(*steps)(g)
    names = g.names[-RETURNED:]
    g.program.returned = names
    g.program.tolerances = [g.tolerance(name) for name in names]
    return g.program


# -- lines, by what they do ------------------------------------------------------------------------

UNARY = ("exp", "expm1", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh", "atan",
         "sinh", "asinh", "sigmoid", "erf", "neg", "abs", "sign", "square", "floor", "ceil",
         "round", "trunc", "isnan", "isinf", "isfinite", "logical_not", "relu", "log", "exp2",
         "tan", "erfc", "clone", "contiguous", "float", "double", "long", "int", "bool")
ACTIVATIONS = ("F.relu({})", "F.relu6({})", "F.gelu({})", "F.gelu({}, approximate='tanh')",
               "F.silu({})", "F.mish({})", "F.elu({}, 0.7)", "F.celu({}, 1.3)", "F.selu({})",
               "F.leaky_relu({}, 0.2)", "F.softplus({})", "F.softplus({}, beta=2, threshold=1)",
               "F.softsign({})", "F.tanhshrink({})", "F.softshrink({}, 0.3)", "F.logsigmoid({})",
               "F.hardshrink({}, 0.3)", "F.hardtanh({}, -0.5, 0.8)", "F.hardsigmoid({})",
               "F.hardswish({})", "F.threshold({}, 0.1, 2)", "F.rrelu({})", "F.dropout({}, 0.3, "
               "False)")
DIFFERENT_AT_INFINITY = ("gelu", "silu", "mish", "hardswish", "softsign")   # where torch has NaN
BINARY = ("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "&", "|", "^")


def unary(g: Growth) -> None:
    x = g.pick()
    g.add(g.choose(f"{x}.{g.choose(*UNARY)}()", f"-{x}", f"abs({x})", f"~{x}"))


def activation(g: Growth) -> None:
    text, x = g.choose(*ACTIVATIONS), g.pick()
    finite = bool(g.torch.isfinite(g.values[x].double()).all())
    if finite or not any(name in text for name in DIFFERENT_AT_INFINITY):
        g.add(text.format(x))


def binary(g: Growth) -> None:
    x = g.pick()
    a, b = g.choose((x, g.like(x)), (g.like(x), x))
    if a not in g.names and b not in g.names:
        a = x
    g.add(f"{a} {g.choose(*BINARY[:4], *BINARY)} {b}")


def of_two(g: Growth) -> None:
    x, y, z = g.pick(), g.pick(), g.pick()
    g.add(g.choose(
        f"n.maximum({x}, {y})", f"n.minimum({x}, {y})", f"n.where({x} > 0, {x}, {y})",
        f"n.where({x}.bool(), {y}, 0.5)", f"n.logical_and({x}, {y})", f"n.logical_xor({x}, {y})",
        f"{x}.masked_fill({y} > 0.2, -1)", f"{x}.clamp(-0.5, 1)", f"{x}.clamp(min={y})",
        f"n.clamp({x}, max=0.5)", f"{x}.add({y}, alpha=2)", f"{x}.type_as({y})",
        f"n.where({x} != {y}, {z}, {x})", f"{x}.div({y}, rounding_mode='floor')",
        f"n.pow({x}, 2)", f"{x}.div({y}, rounding_mode='trunc')", f"n.lerp({x}, {y}, 0.3)",
        f"n.addcmul({x}, {y}, {z}, value=0.5)", f"n.remainder({x}, 3)"))


def reduction(g: Growth) -> None:
    x = g.pick()
    keep = g.choose("", ", keepdim=True")
    name = g.choose("sum", "mean", "amax", "amin", "any", "all", "norm", "logsumexp", "sum")
    where = g.dims(x)
    if where is None:
        name = "sum" if name == "logsumexp" else name
        g.add(f"{x}.{g.choose(name, 'max', 'min', 'prod')}()")
    else:
        g.add(f"{x}.{name}(dim={where}{keep})")


def along(g: Growth) -> None:
    x = g.pick()
    d = g.dim(x)
    g.add(g.choose(
        f"{x}.max({d})[0]", f"{x}.min(dim={d}, keepdim=True).values", f"{x}.argmax({d})",
        f"{x}.argmin({d}, keepdim=True)", f"{x}.cumsum({d})", f"F.softmax({x}, dim={d})",
        f"{x}.log_softmax({d})", f"F.softmin({x}, dim={d})", f"{x}.prod({d})",
        f"n.var({x}, {d}, unbiased=False)", f"{x}.std(dim={d}, keepdim=True)",
        f"{x}.topk(min(2, {x}.size({d}) if {x}.dim() else 1), dim={d}).values",
        f"{x}.topk(1, dim={d}, largest=False)[0]", f"F.normalize({x}, dim={d})",
        f"F.glu({x}, {d})", f"{x}.norm(1, {d})", f"n.sort({x}, dim={d}, stable=True).values",
        f"n.argsort({x}, dim={d}, stable=True)"))


def shape(g: Growth) -> None:
    x = g.pick()
    rank = g.rank(x)
    d, e = g.dim(x), g.dim(x)
    order = tuple(g.draw(st.permutations(range(rank))))
    g.add(g.choose(
        f"{x}.reshape(-1)", f"{x}.transpose({d}, {e})", f"{x}.permute({order})",
        f"{x}.unsqueeze({d})", f"{x}.squeeze({d})", f"{x}.squeeze()", f"{x}.flatten()",
        f"{x}.flatten({g.choose(0, 1)})", f"{x}.swapaxes({d}, {e})", f"{x}.mT", f"{x}.t()",
        f"{x}.reshape({x}.shape[::-1])", f"{x}.view({x}.size({d}), -1)", f"{x}.ravel()",
        f"{x}.movedim({d}, {e})", f"{x}.unflatten({d}, (-1, 1))", f"{x}[None]",
        f"{x}.expand(2, *{x}.shape)", f"{x}.repeat(2, *[1] * {rank})", f"{x}.flip({d})",
        f"{x}.roll(1, {d})", f"n.tile({x}, (2,))", f"{x}.repeat_interleave(2, {d})",
        f"{x}.tril()", f"{x}.triu(1)", f"F.pad({x}, (1, 0))", f"F.pad({x}, (-1, 2), value=1.5)",
        f"{x}.diagonal()", f"n.diag({x})", f"n.diag_embed({x})"))


def item(g: Growth) -> str:
    x = g.pick(lambda t: t.ndim > 0)
    if x is None:
        return ""
    n, other = g.size(x, 0), g.pick(lambda t: t.dtype in (g.torch.int64, g.torch.int32))
    options = ["0", "-1", "1:", ":-1", "::2", "..., 0", ":, None", "None, ..., -1", "1:3, 0",
               ":, 1::2", "[0, -1]", "..., :1", "[[0], [0]]", ":, [0]", "-2:", ":, -1:",
               f"[{n - 1}]", "n.tensor([0])", "[0], :, [0]", "[0], ..., 0", "...", "3", "0:0"]
    if other is not None:
        options += [f"{other} % {max(n, 1)}", f":, {other} % 1", f"{other}"]
    return f"{x}[{g.choose(*options)}]"


def indexing(g: Growth) -> None:
    if text := item(g):
        g.add(text)


def by_number(g: Growth) -> None:
    x = g.pick(lambda t: t.ndim > 0)
    if x is None:
        return
    d = g.dim(x)
    n = max(g.size(x, d), 1)
    ids = g.pick(lambda t: t.dtype == g.torch.int64) or "n.arange(2)"
    y = g.pick()
    g.add(g.choose(
        f"{x}.gather({d}, {ids} % {n})", f"n.take_along_dim({x}, {ids} % {n}, {d})",
        f"{x}.index_select({d}, {ids}.reshape(-1) % {n})", f"{x}.narrow({d}, 0, 1)",
        f"{x}.select({d}, 0)", f"{x}.chunk(2, {d})[0]", f"{x}.split(2, dim={d})[-1]",
        f"{x}.unbind({d})[-1]", f"F.one_hot({ids} % 3, 3)", f"n.cat([{x}, {y}], {d})",
        f"n.stack([{x}, {y}], {d})", f"n.cat([{x}, {x} * 2], dim={d})", f"n.zeros_like({x})",
        f"n.ones_like({x}) * 2", f"n.full_like({x}, 1.5)", f"n.arange({n})", f"n.eye({n})",
        f"n.arange({n}, dtype={x}.dtype)", f"{x}.new_zeros({n}, 2)",
        f"n.zeros({n}).scatter(0, {ids}.reshape(-1) % {n}, 1.0)",
        f"{x}.scatter_add({d}, {x}.argmax({d}, keepdim=True), {x})"))


def product(g: Growth) -> None:
    x = g.pick(lambda t: t.ndim > 0)
    if x is None:
        return
    k = g.size(x, -1)
    dtype = np.float64 if g.values[x].dtype == g.torch.float64 else np.float32
    match g.choose("linear", "linear", "matmul", "parameter", "einsum", "norm", "bilinear"):
        case "linear":
            bias = ", " + g.param(3, dtype=dtype) if g.draw(st.booleans()) else ""
            g.add(f"F.linear({x}, {g.param(3, k, dtype=dtype)}{bias})")
        case "parameter":
            g.add(f"{x} @ {g.param(k, 2, dtype=dtype)}")
        case "einsum":
            g.add(g.choose(f"n.einsum('...i,...i->...', {x}, {x})", f"n.einsum('i...->...', {x})",
                           f"n.einsum('...i,ij->...j', {x}, {g.param(k, 2, dtype=dtype)})",
                           f"n.einsum('ij,kj->ik', {x}, {g.pick()}.to({x}.dtype))"))
        case "norm":
            w, b = g.param(k, dtype=dtype), g.param(k, dtype=dtype)
            g.add(g.choose(f"F.layer_norm({x}, ({k},), {w}, {b})", f"F.layer_norm({x}, ({k},))",
                           f"F.rms_norm({x}, ({k},), {w}, 1e-6)",
                           f"F.layer_norm({x}, {x}.shape[-2:], None, None, 1e-3)",
                           f"F.group_norm({x}, 1)", f"F.cosine_similarity({x}, {x} + 1, dim=-1)"))
        case "bilinear":
            g.add(f"F.bilinear({x}, {x}, {g.param(2, k, k, dtype=dtype)})")
        case _:
            g.add(g.choose(f"{x} @ {x}.mT", f"n.matmul({x}, {g.pick()})", f"n.bmm({x}, {x})",
                           f"F.scaled_dot_product_attention({x}, {x}, {x})", f"{x}.mm({x}.t())",
                           f"n.outer({x}, {x})", f"n.dot({x}, {x})"))


def changed_operand(g: Growth) -> None:
    x = g.pick()
    g.add(f"{x} {g.choose('+=', '-=', '*=', '/=', '%=', '//=', '+=', '*=')} {g.like(x)}", x)


def changed_by_method(g: Growth) -> None:
    x = g.pick()
    y = g.pick()
    g.add(g.choose(
        f"{x}.relu_()", f"{x}.mul_(2)", f"{x}.zero_()", f"{x}.fill_(1.5)", f"{x}.clamp_(-1, 1)",
        f"{x}.copy_({y})", f"F.relu({x}, inplace=True)", f"F.elu_({x})", f"{x}.neg_()",
        f"{x}.masked_fill_({y} > 0, 0.5)", f"F.leaky_relu({x}, 0.1, True)", f"{x}.add_({y})",
        f"{x}.exp_()", f"{x}.tril_()", f"F.hardtanh({x}, inplace=True)", f"{x}.sigmoid_()"), x)


def changed_item(g: Growth) -> None:
    place = item(g)
    if not place:
        return
    x = place.partition("[")[0]
    value = g.choose("0", "1.5", g.pick(), f"{place} * 2", f"{x}.sum()", g.like(x))
    g.add(f"{place} {g.choose('=', '=', '+=', '*=')} {value}", x)


def changed_under_mask(g: Growth) -> None:
    x = g.pick(lambda t: t.ndim > 0)
    if x is not None:
        g.add(g.choose(f"{x}[{x} > 0] = {g.choose('0', '-1.5', f'{x}.sum()', g.pick())}",
                       f"{x}[{x}[..., 0] > 0] = 2", f"{x}[:, {x}[0] > 0] = 0.5",
                       f"{x}[{x}.bool()] *= 2"), x)


STEPS = (unary, activation, binary, binary, of_two, reduction, along, shape, shape, indexing,
         by_number, product)
CHANGES = (changed_operand, changed_by_method, changed_item, changed_under_mask)
