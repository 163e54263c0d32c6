"""The type rules: (*types, **attrs) -> type, or an Error that says why there is none."""
from __future__ import annotations

from collections.abc import Sequence

from ir.types import (
    DTYPES,
    FLOATS,
    NUMBERS,
    Dim,
    Error,
    TensorType,
    check_number,
    divide,
    extent,
    product,
    same,
    terms,
)

IDS = ("i32", "i64")
KINDS = {FLOATS: "floats", NUMBERS: "numbers", IDS: "i32 or i64 ids", ("bool",): "bools",
         tuple(DTYPES): "arrays"}


# -- elementwise -----------------------------------------------------------------------------------

def numbers(*operands: TensorType | float) -> TensorType:
    return elementwise(operands, NUMBERS)


def floats(*operands: TensorType | float) -> TensorType:
    return elementwise(operands, FLOATS)


def bools(*operands: TensorType | float) -> TensorType:
    return elementwise(operands, ("bool",))


def comparison(*operands: TensorType | float) -> TensorType:
    return TensorType("bool", elementwise(operands, tuple(DTYPES)).shape)


def test(x: TensorType | float) -> TensorType:
    return TensorType("bool", floats(x).shape)


def where(c: TensorType | float, a: TensorType | float, b: TensorType | float) -> TensorType:
    if not isinstance(c, TensorType) or c.dtype != "bool":
        raise Error(f"where needs a condition of bools, got {c}")
    chosen = elementwise((a, b), tuple(DTYPES))
    return TensorType(chosen.dtype, broadcast([c, chosen]))


def cast(x: TensorType | float, *, dtype: str) -> TensorType:
    return TensorType(dtype, elementwise((x,), tuple(DTYPES)).shape)


def elementwise(operands: Sequence[TensorType | float], allowed: tuple[str, ...]) -> TensorType:
    """Arrays of one type, which is the plain numbers' too; shapes broadcast."""
    types = [o for o in operands if isinstance(o, TensorType)]
    dtype = one_type(types, allowed)
    for operand in operands:
        if not isinstance(operand, TensorType):
            check_number(operand, dtype)
    return TensorType(dtype, broadcast(types))


def broadcast(types: Sequence[TensorType]) -> tuple[Dim, ...]:
    """NumPy's rule; a symbolic size goes with itself and with a literal 1, with nothing else."""
    rank = max(t.ndim for t in types)
    shape: list[Dim] = []
    for dims in zip(*[(1,) * (rank - t.ndim) + t.shape for t in types], strict=True):
        wide = {str(d): d for d in dims if not same(d, 1)}
        if len(wide) > 1:
            together = " with ".join(map(str, types))
            raise Error(f"cannot broadcast {together}: {' is not '.join(wide)}")
        shape.append(next(iter(wide.values()), 1))
    return tuple(shape)


def one_type(types: Sequence[TensorType], allowed: tuple[str, ...]) -> str:
    dtypes = {t.dtype for t in types}
    if len(dtypes) != 1 or not dtypes <= {*allowed}:
        given = ", ".join(map(str, types)) or "plain numbers only"
        raise Error(f"expected {KINDS[allowed]} of one type, got {given}")
    return dtypes.pop()


# -- products --------------------------------------------------------------------------------------

def linear(x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
    """x[..., K], weight [N, K] and bias [N] to [..., N]."""
    if x.ndim < 1 or w.ndim != 2:
        raise Error(f"linear needs x[..., K] and a weight [N, K], got {x} and {w}")
    if not same(x.shape[-1], w.shape[1]):
        raise Error(f"linear expects {w.shape[1]} features, its input has {x.shape[-1]}")
    if b is not None and not same(b.shape, w.shape[:1]):
        raise Error(f"linear has {w.shape[0]} outputs, its bias is {b}")
    dtype = one_type([x, w] + ([b] if b else []), FLOATS)
    return TensorType(dtype, (*x.shape[:-1], w.shape[0]))


def matmul(x: TensorType, w: TensorType) -> TensorType:
    """[..., M, K] and [..., K, N] to [..., M, N]; the leading axes broadcast."""
    if x.ndim < 2 or w.ndim < 2 or not same(x.shape[-1], w.shape[-2]):
        raise Error(f"cannot multiply matrices {x} @ {w}")
    dtype = one_type([x, w], FLOATS)
    stack = broadcast([TensorType(dtype, t.shape[:-2]) for t in (x, w)])
    return TensorType(dtype, (*stack, x.shape[-2], w.shape[-1]))


# -- rows ------------------------------------------------------------------------------------------

def softmax(x: TensorType, *, axis: int, scale: float) -> TensorType:
    return along(x, axis, FLOATS)


def log_softmax(x: TensorType, *, axis: int) -> TensorType:
    return along(x, axis, FLOATS)


def cumsum(x: TensorType, *, axis: int) -> TensorType:
    return along(x, axis, NUMBERS)


def along(x: TensorType, axis: int, allowed: tuple[str, ...]) -> TensorType:
    check_axes(x, [axis])
    return TensorType(one_type([x], allowed), x.shape)


def layer_norm(x: TensorType, *affine: TensorType, axes: Sequence[int], eps: float) -> TensorType:
    return normalized("layer_norm", x, affine, axes)


def rms_norm(x: TensorType, *affine: TensorType, axes: Sequence[int], eps: float) -> TensorType:
    return normalized("rms_norm", x, affine, axes)


def normalized(name: str, x: TensorType, affine: Sequence[TensorType],
               axes: Sequence[int]) -> TensorType:
    """Over the last axes; weight and bias have their shape."""
    if not axes or tuple(axes) != tuple(range(x.ndim - len(axes), x.ndim)):
        raise Error(f"{name} is over the last axes in order, {list(axes)} of {x} are not")
    shape = x.shape[axes[0]:]
    if wrong := [t for t in affine if not same(t.shape, shape)]:
        raise Error(f"{name} over {list(shape)} cannot use a weight or bias {wrong[0]}")
    return TensorType(one_type([x, *affine], FLOATS), x.shape)


# -- reductions ------------------------------------------------------------------------------------

def total(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    return reduced(x, axes, keepdims, NUMBERS)


def mean(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    return reduced(x, axes, keepdims, FLOATS)


def truth(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    return reduced(x, axes, keepdims, ("bool",))


def extreme(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    result = reduced(x, axes, keepdims, NUMBERS)
    if same(product(x.shape[a] for a in axes), 0):
        raise Error(f"there is no max or min of {x} over the axes {list(axes)}: they are empty")
    return result


def place_of_extreme(x: TensorType, *, axis: int, keepdims: bool) -> TensorType:
    return TensorType("i64", extreme(x, axes=[axis], keepdims=keepdims).shape)


def reduced(x: TensorType, axes: Sequence[int], keepdims: bool,
            allowed: tuple[str, ...]) -> TensorType:
    check_axes(x, axes)
    kept = [1 if i in axes else d for i, d in enumerate(x.shape) if keepdims or i not in axes]
    return TensorType(one_type([x], allowed), tuple(kept))


# -- by index --------------------------------------------------------------------------------------

def embedding(ids: TensorType, w: TensorType) -> TensorType:
    """Ids of any shape and a table [V, D] to [..., D]."""
    if ids.dtype not in IDS or w.ndim != 2:
        raise Error(f"embedding needs i32 or i64 ids and a table [V, D], got {ids} and {w}")
    return TensorType(one_type([w], FLOATS), (*ids.shape, w.shape[1]))


def embedding_bag(ids: TensorType, offsets: TensorType, w: TensorType,
                  weights: TensorType | None = None, *, mode: str, include_last: bool,
                  padding: int) -> TensorType:
    """Ids [N], offsets [B] or, the last one included, [B + 1], and a table [V, D] to [B, D]."""
    if (ids.ndim, offsets.ndim, w.ndim) != (1, 1, 2) or {ids.dtype, offsets.dtype} - {*IDS}:
        raise Error("embedding_bag needs i32 or i64 ids [N] and offsets [B], and a table [V, D], "
                    f"got {ids}, {offsets} and {w}")
    dtype = one_type([w] + ([weights] if weights else []), FLOATS)
    if weights is not None and (mode != "sum" or not same(weights.shape, ids.shape)):
        raise Error(f"embedding_bag of {ids} takes weights of this shape, to sum, not {weights} "
                    f"for its {mode}")
    bags = offsets.shape[0] - int(include_last)
    if extent(bags)[1] < 0 or padding < -1:
        raise Error(f"embedding_bag cannot do with offsets {offsets}, padding {padding}")
    return TensorType(dtype, (bags, w.shape[1]))


def take(x: TensorType, ids: TensorType, *, axis: int) -> TensorType:
    """x[..., N, ...] and ids of any shape: that shape in the place of N."""
    check_axes(x, [axis])
    one_type([ids], IDS)
    return TensorType(x.dtype, (*x.shape[:axis], *ids.shape, *x.shape[axis + 1:]))


def take_along(x: TensorType, ids: TensorType, *, axis: int) -> TensorType:
    """The shape of the ids, which is no larger than that of x on the other axes."""
    check_axes(x, [axis])
    one_type([ids], IDS)
    if ids.ndim != x.ndim or any(extent(m - n)[1] < 0 for m, n in zip(
            around(x, axis), around(ids, axis), strict=True)):
        raise Error(f"take_along {ids} reaches outside of {x} on an axis other than {axis}")
    return TensorType(x.dtype, ids.shape)


def topk_ids(x: TensorType, *, axis: int, k: Dim, largest: bool, sorted: bool) -> TensorType:
    check_axes(x, [axis])
    one_type([x], NUMBERS)
    if min(extent(k)[1], extent(x.shape[axis] - k)[1]) < 0:
        raise Error(f"there are no {k} elements along axis {axis} of {x}")
    return TensorType("i64", (*x.shape[:axis], k, *x.shape[axis + 1:]))


# -- shapes ----------------------------------------------------------------------------------------

def iota(*, shape: Sequence[Dim], axis: int, dtype: str) -> TensorType:
    result = TensorType(dtype, tuple(shape))
    check_axes(result, [axis])
    one_type([result], NUMBERS)
    return result


def full(value: float, *, shape: Sequence[Dim], dtype: str) -> TensorType:
    check_number(value, dtype)
    return TensorType(dtype, tuple(shape))


def unchanged(x: TensorType) -> TensorType:
    return x


def dropout(x: TensorType, *, p: float) -> TensorType:
    if not 0 <= p <= 1:
        raise Error(f"dropout needs a probability, got p = {p}")
    return x


def reshape(x: TensorType, *, shape: Sequence[Dim]) -> TensorType:
    result = TensorType(x.dtype, tuple(shape))
    if not same(product(x.shape), product(result.shape)):
        counts = f"{product(x.shape)} is not {product(result.shape)}"
        raise Error(f"cannot reshape {x} to {list(shape)}: {counts}")
    return result


def transpose(x: TensorType, *, axes: Sequence[int]) -> TensorType:
    if sorted(axes) != list(range(x.ndim)):
        raise Error(f"{list(axes)} is not an order of the axes of {x}")
    return TensorType(x.dtype, tuple(x.shape[a] for a in axes))


def expand(x: TensorType, *, shape: Sequence[Dim]) -> TensorType:
    """Axes of size 1 repeated to another size, and new ones put in front."""
    result = TensorType(x.dtype, tuple(shape))
    if not same(broadcast([x, result]), result.shape):
        raise Error(f"cannot expand {x} to {list(shape)}")
    return result


def slice_(x: TensorType, *, axis: int, start: Dim, stop: Dim, step: int) -> TensorType:
    """Elements start, start + step, ... before stop along one axis.  Bounds that fit some sizes
    only are checked when the sizes are known."""
    check_axes(x, [axis])
    if step == 0:
        raise Error("a slice cannot have the step 0")
    size = x.shape[axis]
    gaps = (start, stop - start, size - stop)
    if step < 0:
        gaps = (stop + 1, start - stop, size - 1 - start)
    if any(extent(gap)[1] < 0 for gap in gaps):
        steps = f":{step}" * (step != 1)
        raise Error(f"{start}:{stop}{steps} is outside axis {axis} of {x}")
    count = divided_up(gaps[1], abs(step))
    return TensorType(x.dtype, (*x.shape[:axis], count, *x.shape[axis + 1:]))


def divided_up(length: Dim, step: int) -> Dim:
    """How many steps a length of 0 or more takes, the last one perhaps shorter."""
    constant = sum(c for monomial, c in terms(length) if not monomial)
    whole = divide(length - constant, step)
    if whole is None:
        raise Error(f"how many steps of {step} there are in {length} is not known before run time")
    return whole + -(-constant // step)


def concat(x: TensorType, *others: TensorType, axis: int) -> TensorType:
    check_axes(x, [axis])
    length = x.shape[axis]
    for other in others:
        alike = other.dtype == x.dtype and other.ndim == x.ndim
        if not alike or not same(around(other, axis), around(x, axis)):
            raise Error(f"cannot concatenate {x} and {other} along axis {axis}")
        length = length + other.shape[axis]
    return TensorType(x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1:]))


def pad(x: TensorType, *, low: Sequence[Dim], high: Sequence[Dim], value: float) -> TensorType:
    """So many elements more, all of one value, before and behind each axis."""
    check_number(value, x.dtype)
    if {len(low), len(high)} != {x.ndim} or any(extent(n)[1] < 0 for n in (*low, *high)):
        raise Error(f"cannot pad {x} by {list(low)} and {list(high)}: it takes a size of 0 or more "
                    "for each axis")
    return TensorType(x.dtype, tuple(a + d + b for a, d, b in zip(low, x.shape, high, strict=True)))


def around(x: TensorType, axis: int) -> tuple[Dim, ...]:
    return x.shape[:axis] + x.shape[axis + 1:]


def check_axes(x: TensorType, axes: Sequence[int]) -> None:
    if wrong := [axis for axis in axes if not 0 <= axis < x.ndim]:
        raise Error(f"{x} has no axis {wrong[0]}")
    if len(set(axes)) != len(axes):
        raise Error(f"the axes {list(axes)} name one axis twice")
