"""Chains of elementwise ops over tensors of any strides, and iota."""
from __future__ import annotations

import nncompile.cuda.kernels.chain as chains
from nncompile.cuda.kernels.chain import Chain
from nncompile.cuda.kernels.kernel import (
    Kernel,
    dims,
    each_element,
    indices,
    make,
    number_of,
    number_type,
    place,
    signature,
    strides,
    typed,
)
from nncompile.cuda.target import Target


def elementwise(chain: Chain, rank: int, dtype: str, target: Target,
                source: str | None = None) -> Kernel:
    """y[o] = chain(operands), for indices o of `rank` dims, one or more; a thread an element.

    The kinds of the chain's first op are those of *all* its operands, whose dtype is `source` where
    it is not that of y. y may be one of the v operands of its dtype, with the same strides. An
    integer divided by 0 gives 0, and the first one writes step + 1 to fault, whose first word has
    to be 0 before.
    """
    source = source or dtype
    kinds, dtypes = chains.kinds(chain), chains.operand_dtypes(chain, dtype, source)
    further = [f"r{i}:{d}[] {strides(rank, f'r{i}')}" if kind == "v" else f"r{i}:{number_type(d)}"
               for i, (kind, d) in enumerate(zip(kinds, dtypes, strict=True))]
    fault = " fault:words step" * chains.may_fault(chain, dtype)
    arguments = signature(f"y:{dtype}[] {dims(rank)} {strides(rank, 'y')} {' '.join(further)}"
                          + fault)
    name = (f"elementwise{chains.name(chain)}_{rank}_{dtype}"
            + f"_of_{source}" * (source != dtype))

    def operand(number: int) -> str:
        r = f"r{number}"
        return number_of(r, dtypes[number]) if kinds[number] == "s" else f"{r}[{place(r, rank)}]"

    body = each_element(" * ".join(f"d{d}" for d in range(rank)), [
        "        rest = element",
        *indices("rest", rank, " " * 8),
        *chains.statements(chain, operand, dtype, " " * 8, source=source),
        f"        y[{place('y', rank)}] = value"])
    return make(name, arguments, [f"y = {chains.about(chain, '')}, a thread an element."], body,
                target.threads)


def iota(dtype: str, target: Target) -> Kernel:
    """y[i] = i, modulo 2^bits."""
    body = each_element("N", [f"        y[y_at + element] = {typed('element', dtype)}"])
    return make(f"iota_{dtype}", signature(f"y:{dtype}[] N"), ["0, 1, 2, ..."], body,
                target.threads)
