"""Chains of elementwise ops over tensors of any strides, iota, and a number of the call."""
from __future__ import annotations

import nncompile.cuda.kernels.chain as chains
from ir.ops import philox
from nncompile.cuda.kernels.axes import Axes
from nncompile.cuda.kernels.chain import Chain
from nncompile.cuda.kernels.kernel import Kernel, each_element, make, number_of, number_type, typed
from nncompile.cuda.target import Target


def elementwise(chain: Chain, rank: int, dtype: str, target: Target,
                source: str | None = None) -> Kernel:
    """y[o] = chain(operands), for indices o of `rank` dims, one or more; a thread an element.

    The kinds of the chain's first op are those of *all* its operands, whose dtype is `source` where
    it is not that of y. y may be one of the v operands of its dtype, with the same strides. An
    integer divided by 0 gives 0, and the first one writes step + 1 to fault, whose first word has
    to be 0 before.
    """
    source, axes = source or dtype, Axes(rank)
    kinds, dtypes = chains.kinds(chain), chains.operand_dtypes(chain, dtype, source)
    further = [f"r{i}:{d}[] {axes.strides(f'r{i}')}" if kind == "v" else f"r{i}:{number_type(d)}"
               for i, (kind, d) in enumerate(zip(kinds, dtypes, strict=True))]
    fault = " fault:words step" * chains.may_fault(chain, dtype)
    signature = f"y:{dtype}[] {axes.sizes} {axes.strides('y')} {' '.join(further)}" + fault
    name = (f"elementwise{chains.name(chain)}_{rank}_{dtype}" + f"_of_{source}" * (source != dtype))

    def operand(number: int) -> str:
        r = f"r{number}"
        return number_of(r, dtypes[number]) if kinds[number] == "s" else f"{r}[{axes.place(r)}]"

    body = each_element(axes.count, [
        "        rest = element",
        *axes.indices("rest", " " * 8),
        *chains.statements(chain, operand, dtype, " " * 8, source=source),
        f"        y[{axes.place('y')}] = value"])
    return make(name, signature, [f"y = {chains.about(chain, '')}, a thread an element."], body,
                target.threads)


def iota(dtype: str, target: Target) -> Kernel:
    """y[i] = i, modulo 2^bits."""
    body = each_element("N", [f"        y[y_at + element] = {typed('element', dtype)}"])
    return make(f"iota_{dtype}", f"y:{dtype}[] N", ["0, 1, 2, ..."], body, target.threads)


_ROUND = """
            high_a, a = (a * {0}) >> half, (a * {0}) & {2}
            high_c, c = (c * {1}) >> half, (c * {1}) & {2}
            a, b, c, d = (high_c ^ b ^ k0), c, (high_a ^ d ^ k1), a
            k0, k1 = (k0 + {3}) & {2}, (k1 + {4}) & {2}"""


def uniform(dtype: str, target: Target) -> Kernel:
    """y[i] = the random number of element i of a stream: see ir.ops.philox."""
    low = 0xFFFFFFFF
    constants = [*philox.MULTIPLIERS, low, *philox.STEPS]
    rounds = _ROUND.format(*(f"uint64({number})" for number in constants)).splitlines()[1:]
    body = each_element("N", [
        "        key, draw = uint64(seed[seed_at]), uint64(seed[seed_at + 1])",
        "        place, mask, half = uint64(element), uint64(4294967295), uint64(32)",
        f"        a = ((place // uint64({philox.GROUP})) * uint64({philox.GROUP // 4})"
        f" + place % uint64({philox.GROUP // 4})) & mask",
        "        b, c, d = uint64(stream), draw & mask, draw >> half",
        "        k0, k1 = key & mask, key >> half",
        f"        for _ in range({philox.ROUNDS}):",
        *rounds,
        f"        word = (place // uint64({philox.GROUP // 4})) % uint64(4)",
        "        made = a if word == 0 else b if word == 1 else c if word == 2 else d",
        f"        y[y_at + element] = {typed('made >> uint64(8)', dtype)} * "
        f"{typed('5.9604644775390625e-08', dtype)}"])
    return make(f"uniform_{dtype}", f"y:{dtype}[] N seed:i64[] stream",
                ["Random numbers in [0, 1), a thread a number."], body, target.threads)


def number(target: Target) -> Kernel:
    """y[i] = number."""
    body = each_element("N", ["        y[y_at + element] = number"])
    return make("number_i64", "y:i64[] N number", ["A number of the call."], body, target.threads)
