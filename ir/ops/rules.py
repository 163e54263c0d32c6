"""The type rules of the ops: (*types, **attrs) -> type, or an Error that says why there is none."""
from __future__ import annotations

from collections.abc import Sequence

from ir.types import (
    DTYPES,
    FLOATS,
    INTEGERS,
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

_IDS = ("i32", "i64")
_KINDS = {FLOATS: "floats", INTEGERS: "integers", NUMBERS: "numbers",
          _IDS: "i32 or i64 ids", ("bool",): "bools",
          tuple(DTYPES): "arrays"}


# -- elementwise -----------------------------------------------------------------------------------

def numbers(*operands: TensorType | float) -> TensorType:
    """Returns the common numeric type of operands of an elementwise op; shapes broadcast."""
    return _elementwise(operands, NUMBERS)


def floats(*operands: TensorType | float) -> TensorType:
    """Returns the common type of float operands of an elementwise op; shapes broadcast."""
    return _elementwise(operands, FLOATS)


def integers(*operands: TensorType | float) -> TensorType:
    """Returns the common type of integer operands of an elementwise op; shapes broadcast."""
    return _elementwise(operands, INTEGERS)


def bools(*operands: TensorType | float) -> TensorType:
    """Returns the common type of bool operands of an elementwise op; shapes broadcast."""
    return _elementwise(operands, ("bool",))


def comparison(*operands: TensorType | float) -> TensorType:
    """Returns bool of the broadcast shape; the operands are of one dtype, whichever it is."""
    return TensorType("bool", _elementwise(operands, tuple(DTYPES)).shape)


def test(x: TensorType | float) -> TensorType:
    """Returns bool of the shape of a float operand."""
    return TensorType("bool", floats(x).shape)


def where(c: TensorType | float, a: TensorType | float, b: TensorType | float) -> TensorType:
    """Returns the type of a or b, whose dtypes are equal, broadcast with a bool condition."""
    if not isinstance(c, TensorType) or c.dtype != "bool":
        raise Error(f"where needs a condition of bools, got {c}")
    chosen = _elementwise((a, b), tuple(DTYPES))
    return TensorType(chosen.dtype, _broadcast([c, chosen]))


def cast(x: TensorType | float, *, dtype: str) -> TensorType:
    """Returns the type of x with another dtype."""
    return TensorType(dtype, _elementwise((x,), tuple(DTYPES)).shape)


def _elementwise(operands: Sequence[TensorType | float], allowed: tuple[str, ...]) -> TensorType:
    """Returns the one dtype of the arrays, which is the plain numbers' too, and their shape.

    Shapes broadcast. Raises Error for a dtype that is not allowed.
    """
    types = [o for o in operands if isinstance(o, TensorType)]
    dtype = _one_type(types, allowed)
    for operand in operands:
        if not isinstance(operand, TensorType):
            check_number(operand, dtype)
    shape = _broadcast(types)
    return types[0] if shape is types[0].shape else TensorType(dtype, shape)


def _broadcast(types: Sequence[TensorType]) -> tuple[Dim, ...]:
    """Returns the shape that NumPy's rule gives.

    A symbolic size broadcasts with itself and with a literal 1, and with nothing else.
    """
    first = types[0].shape
    if all(same(t.shape, first) for t in types[1:]):       # most are
        return first
    rank = max(t.ndim for t in types)
    shape: list[Dim] = []
    for dims in zip(*[(1,) * (rank - t.ndim) + t.shape for t in types], strict=True):
        wide = {str(d): d for d in dims if not same(d, 1)}
        if len(wide) > 1:
            together = " with ".join(map(str, types))
            raise Error(f"cannot broadcast {together}: {' is not '.join(wide)}")
        shape.append(next(iter(wide.values()), 1))
    return tuple(shape)


def _one_type(types: Sequence[TensorType], allowed: tuple[str, ...]) -> str:
    """Returns the dtype of all operands. Raises Error where they differ or it is not allowed."""
    dtype = types[0].dtype if types else ""
    for each in types:
        if each.dtype != dtype:
            dtype = ""
    if dtype not in allowed:
        given = ", ".join(map(str, types)) or "plain numbers only"
        raise Error(f"expected {_KINDS[allowed]} of one type, got {given}: cast them to one")
    return dtype


# -- products --------------------------------------------------------------------------------------

def linear(x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
    """Returns [..., N] for x[..., K], a weight [N, K] and a bias [N], all of one float dtype."""
    if x.ndim < 1 or w.ndim != 2:
        raise Error(f"linear needs x[..., K] and a weight [N, K], got {x} and {w}")
    if not same(x.shape[-1], w.shape[1]):
        raise Error(f"linear expects {w.shape[1]} features, its input has {x.shape[-1]}")
    if b is not None and not same(b.shape, w.shape[:1]):
        raise Error(f"linear has {w.shape[0]} outputs, its bias is {b}")
    dtype = _one_type([x, w] + ([b] if b else []), FLOATS)
    return TensorType(dtype, (*x.shape[:-1], w.shape[0]))


def matmul(x: TensorType, w: TensorType) -> TensorType:
    """Returns [..., M, N] for [..., M, K] and [..., K, N]; the leading axes broadcast."""
    if x.ndim < 2 or w.ndim < 2 or not same(x.shape[-1], w.shape[-2]):
        why = "both need two axes or more" if x.ndim < 2 or w.ndim < 2 else (
            f"{x.shape[-1]} columns, and {w.shape[-2]} rows")
        raise Error(f"cannot multiply matrices {x} @ {w}: {why}")
    dtype = _one_type([x, w], FLOATS)
    stack = _broadcast([TensorType(dtype, t.shape[:-2]) for t in (x, w)])
    return TensorType(dtype, (*stack, x.shape[-2], w.shape[-1]))


def attention(q: TensorType, k: TensorType, v: TensorType, *masks: TensorType, scale: float,
              fill: float, seen: bool, zeroed: str) -> TensorType:
    """Returns [..., L, V] for q[..., L, E], k[..., S, E] and v[..., S, V].

    Each mask is of bools or of the dtype of the others, and broadcasts to the scores [..., L, S].
    """
    if k.ndim < 2:
        raise Error(f"attention needs q[..., L, E], k[..., S, E] and v[..., S, V], got {k}")
    scores = matmul(q, TensorType(k.dtype, (*k.shape[:-2], k.shape[-1], k.shape[-2])))
    check_number(fill, scores.dtype)
    for mask in masks:
        fits = same(_broadcast([scores, mask]), scores.shape)
        if mask.dtype not in ("bool", scores.dtype) or not fits:
            raise Error(f"attention with scores {scores} cannot have the mask {mask}")
    if zeroed == "masked" and (len(masks) != 1 or masks[0].dtype == "bool" or not masks[0].ndim):
        given = ", ".join(map(str, masks)) or "none"
        raise Error(f"attention zeroed where it is masked has one mask, of floats, not {given}")
    return matmul(scores, v)


# -- rows ------------------------------------------------------------------------------------------

def softmax(x: TensorType, *, axis: int, scale: float) -> TensorType:
    """Returns the type of x, which has floats and the axis."""
    return _along(x, axis, FLOATS)


def log_softmax(x: TensorType, *, axis: int) -> TensorType:
    """Returns the type of x, which has floats and the axis."""
    return _along(x, axis, FLOATS)


def cumsum(x: TensorType, *, axis: int) -> TensorType:
    """Returns the type of x, which has numbers and the axis."""
    return _along(x, axis, NUMBERS)


def _along(x: TensorType, axis: int, allowed: tuple[str, ...]) -> TensorType:
    """Returns the type of x. Raises Error where x lacks the axis or has another dtype."""
    _check_axes(x, [axis])
    return TensorType(_one_type([x], allowed), x.shape)


def layer_norm(x: TensorType, *affine: TensorType, axes: Sequence[int], eps: float) -> TensorType:
    """Returns the type of x; weight and bias have the shape of the normalised last axes."""
    return _normalized("layer_norm", x, affine, axes)


def rms_norm(x: TensorType, *affine: TensorType, axes: Sequence[int], eps: float) -> TensorType:
    """Returns the type of x; the weight has the shape of the normalised last axes."""
    return _normalized("rms_norm", x, affine, axes)


def _normalized(name: str, x: TensorType, affine: Sequence[TensorType],
                axes: Sequence[int]) -> TensorType:
    """Returns the type of x, normalised over its last axes.

    Raises Error for other axes, and for a weight or bias whose shape is not that of the axes.
    """
    if not axes or tuple(axes) != tuple(range(x.ndim - len(axes), x.ndim)):
        raise Error(f"{name} is over the last axes in order, {list(axes)} of {x} are not")
    shape = x.shape[axes[0]:]
    if wrong := [t for t in affine if not same(t.shape, shape)]:
        raise Error(f"{name} over {list(shape)} cannot use a weight or bias {wrong[0]}")
    return TensorType(_one_type([x, *affine], FLOATS), x.shape)


# -- reductions ------------------------------------------------------------------------------------

def total(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    """Returns the type of a sum or product: the dtype of x, which has numbers."""
    return _reduced(x, axes, keepdims, NUMBERS)


def mean(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    """Returns the type of a mean: the dtype of x, which has floats."""
    return _reduced(x, axes, keepdims, FLOATS)


def truth(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    """Returns the type of any or all: x has bools."""
    return _reduced(x, axes, keepdims, ("bool",))


def extreme(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    """Returns the type of max or min. Raises Error where the reduced axes are empty."""
    result = _reduced(x, axes, keepdims, NUMBERS)
    if same(product(x.shape[a] for a in axes), 0):
        raise Error(f"there is no max or min of {x} over the axes {list(axes)}: they are empty")
    return result


def arg_extreme(x: TensorType, *, axis: int, keepdims: bool) -> TensorType:
    """Returns i64: the index of an extreme along one axis, which is not empty."""
    return TensorType("i64", extreme(x, axes=[axis], keepdims=keepdims).shape)


def _reduced(x: TensorType, axes: Sequence[int], keepdims: bool,
             allowed: tuple[str, ...]) -> TensorType:
    """Returns x without the axes, or with axes of size 1 in their place."""
    _check_axes(x, axes)
    kept = [1 if i in axes else d for i, d in enumerate(x.shape) if keepdims or i not in axes]
    return TensorType(_one_type([x], allowed), tuple(kept))


# -- by index --------------------------------------------------------------------------------------

def embedding(ids: TensorType, w: TensorType) -> TensorType:
    """Returns [..., D] for i32 or i64 ids of any shape and a table [V, D] of floats."""
    if ids.dtype not in _IDS or w.ndim != 2:
        raise Error(f"embedding needs i32 or i64 ids and a table [V, D], got {ids} and {w}")
    return TensorType(_one_type([w], FLOATS), (*ids.shape, w.shape[1]))


def embedding_bag(ids: TensorType, offsets: TensorType, w: TensorType,
                  weights: TensorType | None = None, *, mode: str, include_last: bool,
                  padding: int) -> TensorType:
    """Returns [B, D] for ids [N], offsets [B] and a table [V, D].

    The offsets are [B + 1] where the last one is included. Weights [N] are allowed for mode="sum".
    """
    if (ids.ndim, offsets.ndim, w.ndim) != (1, 1, 2) or {ids.dtype, offsets.dtype} - {*_IDS}:
        raise Error("embedding_bag needs i32 or i64 ids [N] and offsets [B], and a table [V, D], "
                    f"got {ids}, {offsets} and {w}")
    dtype = _one_type([w] + ([weights] if weights else []), FLOATS)
    if weights is not None and (mode != "sum" or not same(weights.shape, ids.shape)):
        raise Error(f"embedding_bag of {ids} takes weights of this shape, to sum, not {weights} "
                    f"for its {mode}")
    bags = offsets.shape[0] - int(include_last)
    if extent(bags)[1] < 0 or padding < -1:
        raise Error(f"embedding_bag cannot do with offsets {offsets}, padding {padding}")
    return TensorType(dtype, (bags, w.shape[1]))


def take(x: TensorType, ids: TensorType, *, axis: int) -> TensorType:
    """Returns x[..., N, ...] with the shape of the ids, which is any, in the place of N."""
    _check_axes(x, [axis])
    _one_type([ids], _IDS)
    return TensorType(x.dtype, (*x.shape[:axis], *ids.shape, *x.shape[axis + 1:]))


def take_along(x: TensorType, ids: TensorType, *, axis: int) -> TensorType:
    """Returns the shape of the ids, which exceeds that of x on no other axis."""
    _check_axes(x, [axis])
    _one_type([ids], _IDS)
    if ids.ndim != x.ndim or any(extent(m - n)[1] < 0 for m, n in zip(
            _around(x, axis), _around(ids, axis), strict=True)):
        raise Error(f"take_along {ids} reaches outside of {x} on an axis other than {axis}")
    return TensorType(x.dtype, ids.shape)


def tree_walk(x: TensorType, nodes: TensorType, thresholds: TensorType, roots: TensorType, *,
              steps: int) -> TensorType:
    """Returns i32[N, T] for x [N, C] and T roots among M nodes, i32[M, 3] or [M, 4]."""
    _one_type([x, thresholds], FLOATS)
    _one_type([nodes, roots], ("i32",))
    if (x.ndim, nodes.ndim, thresholds.ndim, roots.ndim) != (2, 2, 1, 1) or not (
            nodes.shape[1] in (3, 4) and same(nodes.shape[0], thresholds.shape[0])):
        raise Error("tree_walk needs x [N, C], nodes [M, 3] or [M, 4], thresholds [M] and roots "
                    f"[T], got {x}, {nodes}, {thresholds} and {roots}")
    if steps < 0:
        raise Error(f"tree_walk cannot take {steps} steps")
    return TensorType("i32", (x.shape[0], roots.shape[0]))


def topk_ids(x: TensorType, *, axis: int, k: Dim, largest: bool, sorted: bool) -> TensorType:
    """Returns i64 of the shape of x, with k elements along the axis."""
    _check_axes(x, [axis])
    _one_type([x], NUMBERS)
    if min(extent(k)[1], extent(x.shape[axis] - k)[1]) < 0:
        raise Error(f"there are no {k} elements along axis {axis} of {x}")
    return TensorType("i64", (*x.shape[:axis], k, *x.shape[axis + 1:]))


def scatter_add(ids: TensorType, updates: TensorType, *, axis: int, size: Dim) -> TensorType:
    """Returns the updates with another size of the axis; the ids broadcast to the updates."""
    _check_axes(updates, [axis])
    _one_type([ids], _IDS)
    _one_type([updates], NUMBERS)
    if not same(_broadcast([ids, updates]), updates.shape):
        raise Error(f"scatter_add needs ids that broadcast to the updates, got {ids} and {updates}")
    if extent(size)[1] < 0:
        raise Error(f"{size} is no size of an axis")
    return TensorType(updates.dtype, (*updates.shape[:axis], size, *updates.shape[axis + 1:]))


def first_equal(ids: TensorType) -> TensorType:
    """Returns i64[N] for ids [N]."""
    _one_type([ids], _IDS)
    if ids.ndim != 1:
        raise Error(f"first_equal needs a vector of ids, got {ids}")
    return TensorType("i64", ids.shape)


def put_rows(ids: TensorType, rows: TensorType, x: TensorType) -> TensorType:
    """Returns the type of x [V, ...], for ids [N] and rows [N, ...] of the same dtype."""
    _one_type([ids], _IDS)
    if ids.ndim != 1 or not x.ndim or not same(rows.shape, (*ids.shape, *x.shape[1:])):
        raise Error("put_rows needs ids [N], rows [N, ...] and an array [V, ...] to put them into, "
                    f"got {ids}, {rows} and {x}")
    return TensorType(_one_type([rows, x], tuple(DTYPES)), x.shape)


# -- shapes ----------------------------------------------------------------------------------------

def iota(*, shape: Sequence[Dim], axis: int, dtype: str) -> TensorType:
    """Returns the given type, which has numbers."""
    result = TensorType(dtype, tuple(shape))
    _check_axes(result, [axis])
    _one_type([result], NUMBERS)
    return result


def uniform(seed: TensorType, *, shape: Sequence[Dim], dtype: str, stream: int) -> TensorType:
    """Returns an array of floats of the shape; the seed is i64[2], the stream counts from 0."""
    if seed != TensorType("i64", (2,)):
        raise Error(f"uniform needs a seed i64[2], the key and the number of the draw, got {seed}")
    if not 0 <= stream < 2**32:
        raise Error(f"{stream} is no number of a stream: they count from 0 to 2^32 - 1")
    if dtype not in FLOATS:
        raise Error(f"uniform numbers are floats, not {dtype}")
    for size in shape:
        extent(size)
    return TensorType(dtype, tuple(shape))


def full(value: float, *, shape: Sequence[Dim], dtype: str) -> TensorType:
    """Returns the given type, which the number fits into."""
    check_number(value, dtype)
    return TensorType(dtype, tuple(shape))


def size(*, dim: Dim) -> TensorType:
    """Returns i64 without axes."""
    return TensorType("i64", ())


def unchanged(x: TensorType) -> TensorType:
    """Returns the type of x."""
    return x


def dropout(x: TensorType, *, p: float) -> TensorType:
    """Returns the type of x. Raises Error unless p is a probability."""
    if not 0 <= p <= 1:
        raise Error(f"dropout needs a probability, got p = {p}")
    return x


def reshape(x: TensorType, *, shape: Sequence[Dim]) -> TensorType:
    """Returns x in another shape of as many elements."""
    result = TensorType(x.dtype, tuple(shape))
    if not same(product(x.shape), product(result.shape)):
        counts = f"{product(x.shape)} is not {product(result.shape)}"
        raise Error(f"cannot reshape {x} to {list(shape)}: {counts}")
    return result


def transpose(x: TensorType, *, axes: Sequence[int]) -> TensorType:
    """Returns x with its axes in the given order."""
    if sorted(axes) != list(range(x.ndim)):
        raise Error(f"{list(axes)} is not an order of the axes of {x}")
    return TensorType(x.dtype, tuple(x.shape[a] for a in axes))


def expand(x: TensorType, *, shape: Sequence[Dim]) -> TensorType:
    """Returns x with axes of size 1 repeated to another size, and new axes in front."""
    result = TensorType(x.dtype, tuple(shape))
    if not same(_broadcast([x, result]), result.shape):
        raise Error(f"cannot expand {x} to {list(shape)}")
    return result


def slice_(x: TensorType, *, axis: int, start: Dim, stop: Dim, step: int) -> TensorType:
    """Returns x with the elements start, start + step, ... before stop along one axis.

    Bounds that fit only some sizes are accepted here and checked when the sizes are known.
    """
    _check_axes(x, [axis])
    if step == 0:
        raise Error("a slice cannot have the step 0")
    size = x.shape[axis]
    gaps = (start, stop - start, size - stop)
    if step < 0:
        gaps = (stop + 1, start - stop, size - 1 - start)
    if any(extent(gap)[1] < 0 for gap in gaps):
        steps = f":{step}" * (step != 1)
        raise Error(f"{start}:{stop}{steps} is outside axis {axis} of {x}")
    count = _divided_up(gaps[1], abs(step))
    return TensorType(x.dtype, (*x.shape[:axis], count, *x.shape[axis + 1:]))


def _divided_up(length: Dim, step: int) -> Dim:
    """Returns how many steps a length of 0 or more takes, the last one perhaps shorter.

    Raises Error where that depends on the size in a way that no polynomial expresses.
    """
    constant = sum(c for monomial, c in terms(length) if not monomial)
    whole = divide(length - constant, step)
    if whole is None:
        raise Error(f"how many steps of {step} there are in {length} is not known before run time")
    return whole + -(-constant // step)


def concat(x: TensorType, *others: TensorType, axis: int) -> TensorType:
    """Returns the operands joined along one axis; their other sizes and dtypes are equal."""
    _check_axes(x, [axis])
    length = x.shape[axis]
    for other in others:
        alike = other.dtype == x.dtype and other.ndim == x.ndim
        if not alike or not same(_around(other, axis), _around(x, axis)):
            raise Error(f"cannot concatenate {x} and {other} along axis {axis}")
        length = length + other.shape[axis]
    return TensorType(x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1:]))


def pad(x: TensorType, *, low: Sequence[Dim], high: Sequence[Dim], value: float) -> TensorType:
    """Returns x with `low` more elements before and `high` behind each axis."""
    check_number(value, x.dtype)
    if {len(low), len(high)} != {x.ndim} or any(extent(n)[1] < 0 for n in (*low, *high)):
        raise Error(f"cannot pad {x} by {list(low)} and {list(high)}: it takes a size of 0 or more "
                    "for each axis")
    return TensorType(x.dtype, tuple(a + d + b for a, d, b in zip(low, x.shape, high, strict=True)))


def _around(x: TensorType, axis: int) -> tuple[Dim, ...]:
    """Returns the sizes of the other axes."""
    return x.shape[:axis] + x.shape[axis + 1:]


def _check_axes(x: TensorType, axes: Sequence[int]) -> None:
    """Raises Error for an axis that x lacks and for one that is given twice."""
    if wrong := [axis for axis in axes if not 0 <= axis < x.ndim]:
        raise Error(f"{x} has no axis {wrong[0]}")
    if len(set(axes)) != len(axes):
        raise Error(f"the axes {list(axes)} name one axis twice")
