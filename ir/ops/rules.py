"""The type rules: (*types, **attrs) -> type, or an Error that says why there is none."""
from __future__ import annotations

from collections.abc import Iterable, Sequence

from ir.types import Dim, Error, TensorType, extent, product, same


def broadcast(*operands: TensorType | float) -> TensorType:
    """NumPy's rule; a symbolic size goes with itself and with a literal 1, with nothing else."""
    types = [t for t in operands if isinstance(t, TensorType)]
    dtype = float_type(types)
    rank = max(t.ndim for t in types)
    shape: list[Dim] = []
    for dims in zip(*[(1,) * (rank - t.ndim) + t.shape for t in types], strict=True):
        wide = {str(d): d for d in dims if not same(d, 1)}
        if len(wide) > 1:
            together = " with ".join(map(str, types))
            raise Error(f"cannot broadcast {together}: {' is not '.join(wide)}")
        shape.append(next(iter(wide.values()), 1))
    return TensorType(dtype, tuple(shape))


def unchanged(x: TensorType) -> TensorType:
    return x


def dropout(x: TensorType, *, p: float) -> TensorType:
    if not 0 <= p <= 1:
        raise Error(f"dropout needs a probability, got p = {p}")
    return x


def linear(x: TensorType, w: TensorType, b: TensorType | None = None) -> TensorType:
    """x[..., K], weight [N, K] and bias [N] to [..., N]."""
    if x.ndim < 1 or w.ndim != 2:
        raise Error(f"linear needs x[..., K] and a weight [N, K], got {x} and {w}")
    if not same(x.shape[-1], w.shape[1]):
        raise Error(f"linear expects {w.shape[1]} features, its input has {x.shape[-1]}")
    if b is not None and not same(b.shape, w.shape[:1]):
        raise Error(f"linear has {w.shape[0]} outputs, its bias is {b}")
    return TensorType(float_type([x, w] + ([b] if b else [])), (*x.shape[:-1], w.shape[0]))


def matmul(x: TensorType, w: TensorType) -> TensorType:
    """[..., M, K] and [..., K, N] to [..., M, N]; the leading axes broadcast."""
    if x.ndim < 2 or w.ndim < 2 or not same(x.shape[-1], w.shape[-2]):
        raise Error(f"cannot multiply matrices {x} @ {w}")
    stack = broadcast(TensorType(x.dtype, x.shape[:-2]), TensorType(w.dtype, w.shape[:-2]))
    return TensorType(stack.dtype, (*stack.shape, x.shape[-2], w.shape[-1]))


def embedding(ids: TensorType, w: TensorType) -> TensorType:
    """Ids of any shape and a table [V, D] to [..., D]."""
    if ids.dtype not in ("i32", "i64") or w.ndim != 2:
        raise Error(f"embedding needs i32 or i64 ids and a table [V, D], got {ids} and {w}")
    return TensorType(float_type([w]), (*ids.shape, w.shape[1]))


def softmax(x: TensorType, *, axis: int, scale: float) -> TensorType:
    check_axes(x, [axis])
    return TensorType(float_type([x]), x.shape)


def layer_norm(x: TensorType, *affine: TensorType, axes: Sequence[int], eps: float) -> TensorType:
    """Over the last axes; weight and bias have their shape."""
    if not axes or tuple(axes) != tuple(range(x.ndim - len(axes), x.ndim)):
        raise Error(f"layer_norm is over the last axes in order, {list(axes)} of {x} are not")
    normalized = x.shape[axes[0]:]
    if wrong := [t for t in affine if not same(t.shape, normalized)]:
        raise Error(f"layer_norm over {list(normalized)} cannot use a weight or bias {wrong[0]}")
    return TensorType(float_type([x, *affine]), x.shape)


def reduction(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    check_axes(x, axes)
    kept = [1 if i in axes else d for i, d in enumerate(x.shape) if keepdims or i not in axes]
    return TensorType(float_type([x]), tuple(kept))


def maximum_along(x: TensorType, *, axes: Sequence[int], keepdims: bool) -> TensorType:
    result = reduction(x, axes=axes, keepdims=keepdims)
    if same(product(x.shape[a] for a in axes), 0):
        raise Error(f"there is no max of {x} over the axes {list(axes)}: they are empty")
    return result


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


def slice_(x: TensorType, *, axis: int, start: Dim, stop: Dim) -> TensorType:
    """Elements start to stop along one axis.  Bounds that fit some sizes only are checked when
    the sizes are known."""
    check_axes(x, [axis])
    gaps = (start, stop - start, x.shape[axis] - stop)
    if any(extent(gap)[1] < 0 for gap in gaps):
        raise Error(f"{start}:{stop} is outside axis {axis} of {x}")
    return TensorType(x.dtype, (*x.shape[:axis], stop - start, *x.shape[axis + 1:]))


def concat(x: TensorType, *others: TensorType, axis: int) -> TensorType:
    check_axes(x, [axis])
    length = x.shape[axis]
    for other in others:
        alike = other.dtype == x.dtype and other.ndim == x.ndim
        if not alike or not same(around(other, axis), around(x, axis)):
            raise Error(f"cannot concatenate {x} and {other} along axis {axis}")
        length = length + other.shape[axis]
    return TensorType(x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1:]))


def around(x: TensorType, axis: int) -> tuple[Dim, ...]:
    return x.shape[:axis] + x.shape[axis + 1:]


def float_type(types: Iterable[TensorType]) -> str:
    types = list(types)
    dtypes = {t.dtype for t in types}
    if len(dtypes) != 1 or not dtypes <= {"f32", "f64"}:
        given = f"{', '.join(map(str, types))}; astype converts" if types else "numbers only"
        raise Error(f"arithmetic needs floats of one type, got {given}")
    return dtypes.pop()


def check_axes(x: TensorType, axes: Sequence[int]) -> None:
    if wrong := [axis for axis in axes if not 0 <= axis < x.ndim]:
        raise Error(f"{x} has no axis {wrong[0]}")
    if len(set(axes)) != len(axes):
        raise Error(f"the axes {list(axes)} name one axis twice")
