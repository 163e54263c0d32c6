"""Vector mathematics on floats: against exact results, and at special values ir's references.

Every elementwise op of floats is here: one without an entry below fails.
"""
from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from ir.ops import OPS, with_trait
from ir.types import DTYPES
from nncompile.cpu.kernels import LANE_OPS, elementwise
from nncompile.cpu.objects.link import address_in_process
from tests.cpu.kernel_harness import LEVELS, TARGETS, compiled
from tests.exact import BY_MPMATH, PARAMETERS, exact, ulps

LEVEL = pytest.mark.parametrize("level", LEVELS)
FLOAT = pytest.mark.parametrize("dtype", ["f32", "f64"])

# Units in the last place.  docs/accuracy.md has what was measured over more numbers.
BOUND = {"f32": 2.0, "f64": 4.0}
OF_ERF = {"erf", "erfc", "gelu", "gelu_tanh"}              # 4 in float32 too
ROUNDED = {"exp2": 1.2, "log2": 0.501, "log10": 0.501, "sin": 0.501, "cos": 0.501, "tan": 0.501,
           "asin": 0.501, "acos": 0.501, "atan": 0.501, "sinh": 0.501, "cosh": 0.501,
           "asinh": 0.501, "acosh": 0.501, "atanh": 0.501, "erfc": 0.501,
           "tanhshrink": 0.501, "sqrt": 0.5,
           "exp": 1.17, "log": 0.82, "tanh": 1.36, "sigmoid": 1.95, "log_sigmoid": 1.25,
           "gelu": 3.85}

# test_math_types.py has the others
NUMBERS = [name for name, op in LANE_OPS.items() if "f32" in op.dtypes
           and name not in {"copy", "cast", "where"} | with_trait("predicate")]
UNARY = [name for name in NUMBERS if LANE_OPS[name].arity == 1]
SEVERAL = [name for name in NUMBERS if name not in UNARY]
JUDGED = [*UNARY, "softplus", "elu", "celu"]

INF, NAN = np.inf, np.nan


def run(name, level, dtype, *operands):
    y = np.empty_like(operands[0])
    kernel = elementwise(((name, "v" * len(operands)),), 0, dtype)
    compiled(kernel, level)(y, y.size, *operands)
    return y


@functools.cache
def sample(dtype, count):
    """Random bits, and numbers where most functions do something."""
    generator = np.random.default_rng(1)
    kind = DTYPES[dtype].type
    bits = generator.integers(0, 256, 2 * count * kind().itemsize, np.uint8).view(kind)
    spans = [generator.uniform(-a, a, count) for a in (0.1, 1, 5, 30, 110, 800, 1e5)]
    return np.concatenate([bits, 1 + generator.uniform(-0.1, 0.1, count).astype(kind),
                           *(span.astype(kind) for span in spans)])


@functools.cache
def numbers_and_results(name, dtype):
    slow = dtype == "f64" and name in BY_MPMATH
    x = sample(dtype, 100 if slow else 10_000)
    return x, exact(name, x)


@LEVEL
@FLOAT
@pytest.mark.parametrize("name", UNARY)
def test_error(name, dtype, level):
    if dtype == "f64" and name in BY_MPMATH:
        pytest.importorskip("mpmath")
    x, wanted = numbers_and_results(name, dtype)
    y = run(name, level, dtype, x)
    error = ulps(y, wanted)
    bound = 4.0 if name in OF_ERF else BOUND[dtype]
    if dtype == "f32":
        bound = min(bound, ROUNDED.get(name, bound))
    worst = np.argmax(error)
    assert error[worst] <= bound, (error[worst], x[worst], y[worst], wanted[worst])


@pytest.mark.parametrize("name", JUDGED)
def test_float64_judges_float32(name):
    """What tools/ulp.py measures float32 by is right to a small part of a unit."""
    pytest.importorskip("mpmath")
    x = sample("f32", 60)
    with np.errstate(all="ignore"):
        quick, wanted = exact(name, x), exact(name, x.astype(np.float64))
        nearest = wanted.astype(np.float32)
        finite = np.isfinite(nearest)
        error = np.abs(quick - wanted)[finite] / np.spacing(np.abs(nearest[finite]))
        assert error.max() < 1e-4
        assert np.array_equal(quick.astype(np.float32)[~finite], nearest[~finite], equal_nan=True)


SPECIAL = [NAN, -NAN, -INF, INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-40,
           -1e-40, 20.0, -20.0, 89.5, -89.5, 105.0, -105.0, 3e38, -3e38, 1e10]
OF_DOUBLES = [5e-324, -5e-324, 1e-310, 710.5, -710.5, -746.0, 1.7e308, -1.7e308]


def special(dtype):
    return np.array(SPECIAL + OF_DOUBLES * (dtype == "f64"), DTYPES[dtype])


def check_special(name, dtype, level, operands, wanted):
    """Of zeros and infinities, zeros have the reference's sign."""
    y, info = run(name, level, dtype, *operands), np.finfo(dtype.replace("f", "float"))
    with np.errstate(all="ignore"):
        reference, wanted = OPS[name].reference(*operands), wanted.astype(y.dtype)
    for value, expected, signed, *at in zip(y, wanted, reference, *operands, strict=True):
        np.testing.assert_allclose(value, expected, rtol=8 * info.eps, atol=info.smallest_subnormal,
                                   err_msg=str(at))
        if not np.any(np.isfinite(at) & (np.array(at) != 0)) and value == 0:
            assert np.signbit(value) == np.signbit(signed), at


@LEVEL
@FLOAT
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name, dtype, level):
    if dtype == "f64" and name in BY_MPMATH:
        pytest.importorskip("mpmath")
    x = special(dtype)
    check_special(name, dtype, level, [x], exact(name, x))


@LEVEL
@FLOAT
@pytest.mark.parametrize("name", SEVERAL)
def test_special_values_of_several_operands(name, dtype, level):
    """Every pair, or the usual parameters; as the reference has it in float64."""
    kind, x = DTYPES[dtype], special(dtype)
    for parameters in itertools.product(*PARAMETERS.get(name, ())):
        if parameters:
            operands = [x, *(np.full(x.size, p, kind) for p in parameters)]
        else:
            operands = [np.ascontiguousarray(c) for c in np.array([*itertools.product(x, x)]).T]
        # the divisions are exact in their own dtype, where floor_div may be the next number
        wide = operands if name in ("floor_div", "remainder") else [
            o.astype(np.float64) for o in operands]
        with np.errstate(all="ignore"):
            wanted = OPS[name].reference(*wide)
        check_special(name, dtype, level, operands, wanted)


@LEVEL
@FLOAT
@pytest.mark.parametrize("name", ["elu", "celu", "leaky_relu", "pow"])
def test_error_with_parameters(name, dtype, level):
    """Where the parameter's product or quotient rounds, the error is that of its rounding too."""
    generator, kind, wide = np.random.default_rng(2), DTYPES[dtype], np.longdouble
    x = np.concatenate([generator.uniform(-a, a, 3000) for a in (1, 8, 60)]).astype(kind)
    if name == "pow":
        x, y = np.abs(x), generator.uniform(-30, 30, x.size).astype(kind)
        operands = [x, y]
        wanted = np.power(x.astype(wide), y.astype(wide))
    else:
        operands = [x, np.full(x.size, 2, kind)]
        z = x.astype(wide)
        wanted = {"elu": lambda: np.where(z < 0, 2 * np.expm1(z), z),
                  "celu": lambda: np.where(z < 0, 2 * np.expm1(z / 2), z),
                  "leaky_relu": lambda: np.where(z > 0, z, 2 * z)}[name]()
    error = ulps(run(name, level, dtype, *operands), wanted)
    assert error.max() <= BOUND[dtype], x[np.argmax(error)]


@LEVEL
@FLOAT
@pytest.mark.parametrize("threshold", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("beta", [0.1, 0.3, 0.7, 1.0, 1.7, 2.0, 3.0, 10.0])
def test_error_of_softplus(beta, threshold, dtype, level):
    """The product with beta and the quotient by it round, where beta is no power of two."""
    generator, kind, wide = np.random.default_rng(4), DTYPES[dtype], np.longdouble
    x = np.concatenate([generator.uniform(-a, a, 5000) / beta for a in (0.01, 0.5, 2, 8, 110)])
    operands = [x.astype(kind), *(np.full(x.size, p, kind) for p in (beta, threshold))]
    x, betas, _ = operands
    z = x.astype(wide) * betas.astype(wide)
    wanted = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / betas.astype(wide)
    wanted = np.where(x * betas > threshold, x.astype(wide), wanted)
    error = ulps(run("softplus", level, dtype, *operands), wanted)
    assert error.max() <= {"f32": 1.6, "f64": 2.1}[dtype], x[np.argmax(error)]


@LEVEL
@FLOAT
@pytest.mark.parametrize("name", ["floor_div", "remainder"])
def test_division_is_exact(name, dtype, level):
    generator, kind = np.random.default_rng(3), DTYPES[dtype]
    x, y = ((generator.standard_normal(4000) * 10.0 ** generator.integers(-9, 9, 4000)).astype(kind)
            for _ in range(2))
    x[:1000], y[:1000] = np.round(x[:1000]), np.round(y[:1000]) + 0.5
    multiples = y[1000:3000] * generator.integers(1, 2 ** 29, 2000).astype(kind)
    x[1000:3000] = np.nextafter(multiples, generator.choice([-INF, 0, INF], 2000).astype(kind))
    x[2000:3000] = multiples[1000:]
    x[3000:3100], y[3100:3200], x[3200:3300], y[3250:3350] = -0.0, INF, -INF, 0
    with np.errstate(all="ignore"):
        got, wanted = run(name, level, dtype, x, y), OPS[name].reference(x, y)
    assert np.array_equal(got, wanted, equal_nan=True)
    zero = wanted == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(wanted[zero]))


@LEVEL
@FLOAT
def test_multiples_of_half_pi(dtype, level):
    """Where the sine cancels most: the floats nearest to multiples of pi / 2, and huge ones."""
    kind = DTYPES[dtype]
    near = (np.arange(-3000, 3000) * np.longdouble("1.570796326794896619231321691639751442")
            ).astype(kind)
    huge = np.array([2.0 ** 20, 2.0 ** 20 + 1, 1e7, 1e22, 3e38, 6381956970095103 * 2.0 ** 60], kind)
    x = np.concatenate([near, huge, -huge])
    for name in ("sin", "cos", "tan"):
        error = ulps(run(name, level, dtype, x), by_mpmath(name, x))
        assert error.max() <= BOUND[dtype], x[np.argmax(error)]


def by_mpmath(name, x):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.mp.workdps(400):
        values = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
        return np.array([np.longdouble(mpmath.nstr(v, 25)) for v in values])


@LEVEL
def test_targets_have_the_same_functions_in_mixed_widths(level):
    """An op's vectors may be narrower than its target's: in a kernel with 64-bit elements."""
    x = sample("f32", 100)[200:]                           # behind those of random bits
    chain = (("cast", "v"), ("exp", ""), ("tanh", ""), ("gelu", ""), ("log", ""), ("silu", ""))
    narrow = np.empty(x.size, np.float32)
    compiled(elementwise(chain, 0, "f32", "f64"), level)(narrow, x.size, x.astype(np.float64))
    wide, chain = np.empty_like(narrow), (("copy", "v"), *chain[1:])
    compiled(elementwise(chain, 0), level)(wide, x.size, x)
    assert np.array_equal(narrow, wide, equal_nan=True)
    assert TARGETS[level].width >= 4


@pytest.mark.parametrize("name", ["fmod", "fmodf", "pow", "sin", "cos", "tan"])
def test_functions_of_the_c_library_are_found(name):
    """A process that loads kernels from the cache links them before they run."""
    assert address_in_process(name)
