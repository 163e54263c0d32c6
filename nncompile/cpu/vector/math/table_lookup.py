"""Piecewise polynomials for AVX-512, where one instruction looks numbers up in a table of 16.

There is no division, and look-ups run beside multiply-adds on other ports. tanh takes half of the
time; for gelu, within the kernels of products, it gained nothing.
"""
from __future__ import annotations

import numpy as np
from llvmlite import ir as ll

from ir.records import dataclass
from nncompile.cpu.vector.builder import Emit, Value, number

_HALF_OCTAVE = 22                 # bits below the half octave in a float32


@dataclass(frozen=True)
class _Pieces:
    """The pieces of a function of x >= 0.

    The first piece begins at 0 and ends at `start`; beyond, each octave has two. numbers: for each
    piece its centre c, then the coefficients of a polynomial of x - c.
    """

    start: float
    numbers: tuple[tuple[float, ...], ...]


# From tools/coefficients.py
TANH_PIECES = _Pieces(start=0.075, numbers=(           # up to 9.6
        (0.0, 0.09062219, 0.12812577, 0.18124484, 0.25625613, 0.3624994, 0.5125027,
         0.7250206, 1.0250062, 1.4500046, 2.0500057, 2.900016, 4.100017, 5.799287,
         8.115196),
        (0.0, 0.090374924, 0.12742923, 0.17928596, 0.25079045, 0.34741366, 0.47189286,
         0.62000954, 0.77189773, 0.8956938, 0.96739537, 0.99396336, 0.99945086,
         0.99998164, 0.9999998),
        (1.0, 0.9918324, 0.9837618, 0.9678565, 0.93710417, 0.87930375, 0.7773171,
         0.6155882, 0.40417388, 0.19773263, 0.064146176, 0.012036884, 0.0010980249,
         3.6731803e-05, 3.585452e-07),
        (-4.4453943e-09, -0.08963677, -0.12536001, -0.17352308, -0.23501676, -0.30548212,
         -0.3668104, -0.38167053, -0.3119809, -0.1771079, -0.062054724, -0.0119641805,
         -0.001097383, -3.6718808e-05, -3.5607604e-07),
        (-0.33333263, -0.32250988, -0.31194606, -0.2915086, -0.25342807, -0.18697268,
         -0.08601146, 0.03144008, 0.10609205, 0.09273304, 0.03865381, 0.0078763,
         0.00072889426, 2.4192443e-05, 2.2841701e-07),
        (-3.939688e-05, 0.05902573, 0.081537716, 0.11010441, 0.1418962, 0.166784,
         0.16285767, 0.10772973, 0.022104144, -0.02401782, -0.016707433, -0.0038436982,
         -0.0003641358, -1.2169586e-05, -1.213725e-07),
        (0.13434814, 0.1241921, 0.115423106, 0.0988918, 0.06967615, 0.023982823,
         -0.030572087, -0.063040495, -0.043384895, -0.0054079304, 0.004607118,
         0.001497849, 0.00015535977, 5.6375166e-06, 6.1586086e-08),
        (-0.012064729, -0.032887265, -0.044660926, -0.05825585, -0.069917575, -0.07055183,
         -0.047777712, -0.00519324, 0.018950894, 0.008630907, -0.0002925165,
         -0.00044126515, -5.040122e-05, -1.8120252e-06, -1.6910553e-08),
))


def has_lookup(e: Emit) -> bool:
    """Returns whether the target and the dtype have the look-up."""
    return e.target.avx512 and e.dtype == "f32" and e.width in (8, 16)


def by_pieces(e: Emit, x: Value, pieces: _Pieces) -> Value:
    """Returns the function of x >= 0 that is not beyond the last piece; NaN stays NaN.

    The bits of a float above `_HALF_OCTAVE` number the pieces.
    """
    b = e.b
    before = int(np.float32(pieces.start).view(np.int32)) - (1 << _HALF_OCTAVE)
    piece = b.ashr(b.sub(b.bitcast(x, e.ints), e.const_ints(before)), e.const_ints(_HALF_OCTAVE))
    piece = b.select(b.icmp_signed(">", piece, e.const_ints(0)), piece, e.const_ints(0))
    centre, *coefficients = (_look_up(e, numbers, piece) for numbers in pieces.numbers)
    r = b.fsub(x, centre)
    y = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        y = e.fma(y, r, coefficient)
    return y


def _look_up(e: Emit, numbers: tuple[float, ...], index: Value) -> Value:
    """Returns numbers[index], lane by lane; only the last four bits of an index count."""
    padded = [number(n, e.dtype) for n in numbers] + [0.0] * (16 - len(numbers))
    first, *second = (ll.Constant(e.vector, padded[i:i + e.width]) for i in range(0, 16, e.width))
    if second:                                # eight lanes, as with 64-bit elements
        return e.call("llvm.x86.avx512.vpermi2var.ps.256", e.vector, first, index, *second)
    return e.call("llvm.x86.avx512.permvar.sf.512", e.vector, first, index)
