"""tanh in float32 by pieces, where one instruction looks up numbers of a table of 16: AVX-512.

There is no division and no exponential, and what looks up is not what multiplies and adds: it takes
half the time of the other formula.
"""
from __future__ import annotations

from llvmlite import ir

from nncompile.cpu.lanes import Emit, Value, number
from nncompile.cpu.math.parts import size, with_sign_of

# The first piece is below START, then there are two to an octave; from 9.1 on tanh is 1.
START = 0.075
START_BITS = 0x3D99999A
HALF_OCTAVE = 22                  # bits to the right of it in a float32
TANH_IS_1 = 9.1
# Of each piece its centre c, then tanh(x) as a polynomial of x - c; by tools/coefficients.py
TANH_PIECES = (
    (0.0, 0.09062219, 0.12812577, 0.18124484, 0.25625613, 0.3624994, 0.5125027, 0.7250206,
     1.0250062, 1.4500046, 2.0500057, 2.900016, 4.100017, 5.799287, 8.115196),
    (0.0, 0.090374924, 0.12742923, 0.17928596, 0.25079045, 0.34741366, 0.47189286,
     0.62000954, 0.77189773, 0.8956938, 0.96739537, 0.99396336, 0.99945086, 0.99998164,
     0.9999998),
    (1.0, 0.9918324, 0.9837618, 0.9678565, 0.93710417, 0.87930375, 0.7773171, 0.6155882,
     0.40417388, 0.19773263, 0.064146176, 0.012036884, 0.0010980249, 3.6731803e-05,
     3.5845017e-07),
    (0.0, -0.08963685, -0.12535994, -0.17352325, -0.23501666, -0.3054822, -0.36681038,
     -0.38167053, -0.3119809, -0.1771079, -0.06205472, -0.0119641805, -0.001097382,
     -3.6717774e-05, -3.5553788e-07),
    (-0.33333313, -0.32250988, -0.31194606, -0.2915086, -0.25342807, -0.18697268,
     -0.08601146, 0.03144008, 0.10609205, 0.09273304, 0.03865381, 0.0078763, 0.00072889426,
     2.4192452e-05, 2.2867755e-07),
    (0.0, 0.059777305, 0.08114384, 0.11055848, 0.14175253, 0.16683325, 0.16285314,
     0.10772841, 0.022102546, -0.024017861, -0.016707465, -0.0038436921, -0.00036414055,
     -1.2172346e-05, -1.2212155e-07),
    (0.13303037, 0.12422678, 0.11542563, 0.09890142, 0.06967799, 0.023982855, -0.030572081,
     -0.06304049, -0.04338489, -0.0054079304, 0.004607118, 0.001497849, 0.00015535977,
     5.637509e-06, 6.145151e-08),
    (0.0, -2.0851915, 0.5040835, -0.36823162, -0.019875009, -0.07895862, -0.047383264,
     -0.0051367045, 0.018985672, 0.008631357, -0.00029234696, -0.00044128124,
     -5.0394778e-05, -1.8101848e-06, -1.664607e-08),
)


def has_lookup(e: Emit) -> bool:
    return e.target.avx512 and e.dtype == "f32" and e.width in (8, 16)


def tanh_by_pieces(e: Emit, x: Value) -> Value:
    b = e.b
    a = e.smaller(e.const(TANH_IS_1), size(e, x))                          # NaN stays NaN
    first = e.const_ints(START_BITS - (1 << HALF_OCTAVE))
    piece = b.ashr(b.sub(b.bitcast(a, e.ints), first), e.const_ints(HALF_OCTAVE))
    piece = b.select(b.icmp_signed(">", piece, e.const_ints(0)), piece, e.const_ints(0))
    centre, *coefficients = (look_up(e, numbers, piece) for numbers in TANH_PIECES)
    r = b.fsub(a, centre)
    y = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        y = e.fma(y, r, coefficient)
    return with_sign_of(e, y, x)                                           # also of -0.0


def look_up(e: Emit, numbers: tuple[float, ...], index: Value) -> Value:
    """numbers[index], lane by lane; only the last four bits of an index count."""
    padded = [number(n, e.dtype) for n in numbers] + [0.0] * (16 - len(numbers))
    first, *second = (ir.Constant(e.vector, padded[i:i + e.width]) for i in range(0, 16, e.width))
    if second:                                # lanes as many as those of 64-bit elements
        return e.call("llvm.x86.avx512.vpermi2var.ps.256", e.vector, first, index, *second)
    return e.call("llvm.x86.avx512.permvar.sf.512", e.vector, first, index)
