"""Chains of elementwise ops over tensors of any strides."""
from __future__ import annotations

import nncompile.cuda.kernels.chain as chains
from nncompile.cuda.kernels.chain import Chain
from nncompile.cuda.kernels.kernel import (
    Kernel,
    definition,
    dims,
    indices,
    place,
    signature,
    strides,
)
from nncompile.cuda.target import Target


def elementwise(chain: Chain, rank: int, dtype: str, target: Target) -> Kernel:
    """y = chain(operands), a thread an element, over `rank` dims (one or more).

    The kinds of the chain's first op are of *all* its operands.  y may be one of the v operands,
    place for place.
    """
    kinds = chains.kinds(chain)
    further = " ".join(f"r{i}:p {strides(rank, f'r{i}')}" if kind == "v" else f"r{i}:s"
                       for i, kind in enumerate(kinds))
    letters = signature(f"y:p {dims(rank)} {strides(rank, 'y')} {further}")
    kernel = f"elementwise{chains.name(chain)}_{rank}_{dtype}"

    def operand(number: int) -> str:
        r = f"r{number}"
        return r if kinds[number] == "s" else f"{r}[{place(r, rank)}]"

    body = ["    element = int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x",
            f"    while element < {' * '.join(f'd{d}' for d in range(rank))}:",
            "        rest = element",
            *indices("rest", rank, " " * 8),
            *chains.statements(chain, operand, dtype, " " * 8, starts=True),
            f"        y[{place('y', rank)}] = value",
            "        element += int64(cuda.gridDim.x) * cuda.blockDim.x"]
    text = definition(kernel, letters, [f"y = {chains.about(chain, '')}, a thread an element."],
                      body)
    return Kernel(kernel, tuple(letters), "".join(letters.values()), text,
                  dtype, target.threads)
