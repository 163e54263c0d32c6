"""What torch.export calls, by name and overload: one row each, as a function of our arrays.

A function takes the arguments in the order of ATen's schema, as nodes of an exported program give
them. Most are the function of the same name here, which takes the same. Those that ATen's default
decompositions would take apart stay whole where they have a row.
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import nncompile.nn.functional as F
from ir import DimExpr, Error
from nncompile import functions as f
from nncompile.array import Array
from nncompile.array.creation import full
from nncompile.array.sizes import size_seen
from nncompile.importers.sizes import size_in_graph
from nncompile.importers.torch import guards

Target = Callable[..., Any]


# -- elementwise -----------------------------------------------------------------------------------

def _rsub(x: Array, other: Any, alpha: Any = 1) -> Any:
    return f.sub(other, x, alpha=alpha) if isinstance(other, Array) else -(x * alpha) + other


def _to_copy(x: Array, *, dtype: Any = None) -> Array:
    return x if dtype is None else x.to(dtype)


def _elu(x: Array, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    if (scale, input_scale) != (1, 1):
        return F.elu(x * input_scale, alpha * input_scale) * scale if input_scale == 1 else \
            _refuse("elu with an input_scale")
    return F.elu(x, alpha)


def _dropout(x: Array, p: float, train: bool) -> Array:
    if train and p > 0:
        raise Error("it drops elements at random, as in training\ndo: call eval() of the module")
    return x


def _native_dropout(x: Array, p: float, train: bool | None) -> tuple[Array, Array]:
    return _dropout(x, p, bool(train)), f.ones_like(x, dtype=np.bool_)


def _where_scalars(condition: Any, x: Any, other: Any) -> Any:
    return f.where(condition, x, other)


def _clamp_min(x: Array, least: Any) -> Any:
    return x.clamp(min=least)


def _clamp_max(x: Array, most: Any) -> Any:
    return x.clamp(max=most)


def _same(x: Array, **_: Any) -> Array:
    return x


# -- shapes ----------------------------------------------------------------------------------------

def _slice(x: Array, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    return x[_slice_index(x, dim, start, end, step)]


def _slice_index(x: Array, dim: int, start: Any, end: Any, step: int) -> Any:
    if isinstance(end, int) and end >= 2**62:
        end = None                               # torch's own number for "up to the end"
    return (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)


def _squeeze(x: Array, dim: Any = None) -> Any:
    return x.squeeze(tuple(dim)) if isinstance(dim, Sequence) else x.squeeze(dim)


def _expand(x: Array, size: Any, *, implicit: bool = False) -> Any:
    return x.expand(*size)


def _split(x: Array, sizes: Any, dim: int = 0) -> Any:
    return x.split(list(sizes) if isinstance(sizes, Sequence) else sizes, dim)


def _constant_pad(x: Array, pad: Any, value: Any = 0) -> Any:
    return F.pad(x, list(pad), value=value)


def _pad(x: Array, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    return F.pad(x, list(pad), mode, value)


def _pad_with(mode: str) -> Target:
    def padded(x: Array, pad: Any) -> Any:
        return F.pad(x, list(pad), mode)
    return padded


def _index(x: Array, indices: Sequence[Any]) -> Any:
    key = tuple(slice(None) if index is None else index for index in indices)
    return x[key]



def _index_put(x: Array, indices: Sequence[Any], values: Array, accumulate: bool = False) -> Any:
    """Returns an array whose elements under a mask are one number, the form that a graph has."""
    mask, *others = indices
    if others or mask is None or mask.dtype != np.bool_ or values.ndim or accumulate:
        raise Error("elements are set by index\ndo: set those under a mask to one number, or use "
                    "torch.where")
    mask = mask.view(*mask.shape, *[1] * (x.ndim - mask.ndim))
    return f.where(mask, values.to(x.dtype), x)


def _copy(x: Array, source: Array, non_blocking: bool = False) -> Any:
    return source.to(x.dtype).expand(*x.shape)


def _fill(x: Array, value: Any) -> Any:
    return f.full_like(x, value)


def _set_at(x: Array, part: Any, source: Array) -> Any:
    """Returns a copy of x in which a part, given as an index, is the source."""
    result = x.clone()
    result[part] = source
    return result


def _select_scatter(x: Array, source: Array, dim: int, index: Any) -> Any:
    return _set_at(x, (slice(None),) * (dim % x.ndim) + (index,), source)


def _slice_scatter(x: Array, source: Array, dim: int = 0, start: Any = None, end: Any = None,
                   step: int = 1) -> Any:
    return _set_at(x, _slice_index(x, dim, start, end, step), source)


def _t(x: Array) -> Any:
    return x if x.ndim < 2 else x.transpose(0, 1)


# -- new arrays ------------------------------------------------------------------------------------

def _full(size: Any, value: Any, *, dtype: Any = None) -> Any:
    return full(tuple(size), value, dtype=dtype)


def _zeros(size: Any, *, dtype: Any = None) -> Any:
    return full(tuple(size), 0, dtype=dtype or np.float32)


def _ones(size: Any, *, dtype: Any = None) -> Any:
    return full(tuple(size), 1, dtype=dtype or np.float32)


def _new(fill: Any) -> Target:
    def new(x: Array, size: Any, *, dtype: Any = None) -> Any:
        return full(tuple(size), fill, dtype=dtype or x.dtype)
    return new


def _new_full(x: Array, size: Any, value: Any, *, dtype: Any = None) -> Any:
    return full(tuple(size), value, dtype=dtype or x.dtype)


def _arange(end: Any, *, dtype: Any = None) -> Any:
    return f.arange(end, dtype=dtype)


def _arange_start(start: Any, end: Any, step: Any = 1, *, dtype: Any = None) -> Any:
    return f.arange(start, end, step, dtype=dtype)


def _scalar_tensor(value: Any, *, dtype: Any = None) -> Any:
    if isinstance(value, DimExpr):
        array = size_in_graph(value)
        return array if dtype is None else array.to(dtype)
    return full((), value, dtype=dtype or (np.float32 if isinstance(value, float) else np.int64))


# -- products and norms ----------------------------------------------------------------------------

def _layer_norm(x: Array, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
                cudnn_enable: bool = True) -> Any:
    return F.layer_norm(x, list(shape), weight, bias, eps)


def _native_layer_norm(x: Array, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = tuple(range(-len(shape), 0))
    spread = f.var(x, axes, correction=0, keepdim=True)
    return _layer_norm(x, shape, weight, bias, eps), f.mean(x, axes, True), f.rsqrt(spread + eps)


def _native_group_norm(x: Array, weight: Any, bias: Any, rows: Any, channels: Any, inner: Any,
                       groups: int, eps: float) -> Any:
    return (F.group_norm(x, groups, weight, bias, eps),)


def _cdist(x: Array, y: Array, p: float, compute_mode: int | None = None) -> Any:
    return (x.unsqueeze(-2) - y.unsqueeze(-3)).norm(p, -1)


def _rms_norm(x: Array, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    return F.rms_norm(x, list(shape), weight, eps)


def _group_norm(x: Array, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
                cudnn_enabled: bool = True) -> Any:
    return F.group_norm(x, groups, weight, bias, eps)


def _batch_norm(x: Array, weight: Any, bias: Any, mean: Any, var: Any, training: bool,
                momentum: float, eps: float, cudnn_enabled: bool = True) -> Any:
    if training:
        raise Error("it computes with the batch's own statistics, as in training\n"
                    "do: call eval() of the module")
    return F.batch_norm(x, mean, var, weight, bias, False, momentum, eps)


def _native_batch_norm(x: Array, weight: Any, bias: Any, mean: Any, var: Any, momentum: float,
                       eps: float) -> Any:
    return (F.batch_norm(x, mean, var, weight, bias, False, momentum, eps),)


def _instance_norm(x: Array, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool,
                   momentum: float, eps: float, cudnn_enabled: bool = True) -> Any:
    if use_input_stats and mean is not None:
        raise Error("it updates running statistics\ndo: call eval() of the module")
    return F.instance_norm(x, mean, var, weight, bias, use_input_stats, momentum, eps)


def _softmax(x: Array, dim: int, dtype: Any = None) -> Any:
    return F.softmax(x, dim, dtype=dtype)


def _log_softmax(x: Array, dim: int, dtype: Any = None) -> Any:
    return F.log_softmax(x, dim, dtype=dtype)


def _softmax_of_half(function: Target) -> Target:
    def softmax(x: Array, dim: int, half_to_float: bool) -> Any:
        return function(x, dim) if not half_to_float else _refuse("float16")
    return softmax


def _attention(q: Array, k: Array, v: Array, mask: Any = None, dropout_p: float = 0.0,
               is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False
               ) -> Any:
    if dropout_p:
        raise Error("it drops elements at random, as in training\ndo: call eval() of the module")
    return F.scaled_dot_product_attention(q, k, v, mask, 0.0, is_causal, scale, enable_gqa)


def _embedding(weight: Array, indices: Array, padding_idx: int = -1, scale_grad: bool = False,
               sparse: bool = False) -> Any:
    return F.embedding(indices, weight)          # padding_idx concerns gradients alone


_BAG_MODES = ("sum", "mean", "max")


def _embedding_bag(weight: Array, indices: Array, offsets: Array, scale_grad: bool = False,
                   mode: int = 0, sparse: bool = False, per_sample_weights: Any = None,
                   include_last_offset: bool = False, padding_idx: int | None = None) -> Any:
    return (F.embedding_bag(indices, weight, offsets, mode=_BAG_MODES[mode],
                            per_sample_weights=per_sample_weights,
                            include_last_offset=include_last_offset,
                            padding_idx=None if padding_idx == -1 else padding_idx),)


def _einsum(equation: str, operands: Sequence[Any], *, path: Any = None) -> Any:
    return f.einsum(equation, *operands)


# -- reductions ------------------------------------------------------------------------------------

def _axes(dim: Any) -> Any:
    """Returns the axes of a reduction: in ATen an empty list means all of them."""
    return None if dim is None or (isinstance(dim, Sequence) and not dim) else dim


def _over(function: Target) -> Target:
    """Returns a reduction whose axes may be an empty list, which means all."""
    def reduction(x: Array, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
        return function(x, _axes(dim), keepdim, **kwargs)
    return reduction


def _spread(function: Target) -> Target:
    """Returns a variance or standard deviation, with torch's `correction` or `unbiased`."""
    def reduction(x: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
        return function(x, _axes(dim), correction=int(unbiased), keepdim=keepdim)
    return reduction


def _corrected(function: Target) -> Target:
    def reduction(x: Array, dim: Any = None, *, correction: Any = None, keepdim: bool = False
                  ) -> Any:
        return function(x, _axes(dim), correction=1 if correction is None else correction,
                        keepdim=keepdim)
    return reduction


def _var_mean(x: Array, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    return (_corrected(f.var)(x, dim, correction=correction, keepdim=keepdim),
            f.mean(x, _axes(dim), keepdim))


def _vector_norm(x: Array, ord: Any = 2, dim: Any = None, keepdim: bool = False, *,
                 dtype: Any = None) -> Any:
    return (x if dtype is None else x.to(dtype)).norm(ord, _axes(dim), keepdim)


def _refuse(what: str) -> Any:
    raise Error(f"{what} is not supported")


# -- sizes -----------------------------------------------------------------------------------------

def _size(x: Array, dim: int) -> Any:
    return x.type.shape[dim]                     # x.shape is of sizes that a trace watches


def _numel(x: Array) -> Any:
    return math.prod(x.type.shape)


def _floor_divided(a: Any, b: Any) -> Any:
    return guards.quotient(a, b) if isinstance(a, int | DimExpr) else size_seen(a) // b


def _remainder(a: Any, b: Any) -> Any:
    return guards.remainder(a, b) if isinstance(a, int | DimExpr) else size_seen(a) % b


# -- the table -------------------------------------------------------------------------------------

def _named(names: str, *rooms: Any) -> dict[str, Target]:
    """Returns rows of targets that have a function here of the same name and arguments."""
    rows: dict[str, Target] = {}
    for target in names.split():
        name = target.partition(".")[0]
        rows[target] = next(getattr(room, name) for room in rooms if hasattr(room, name))
    return rows


TARGETS: dict[str, Target] = {
    # the same here
    **_named("""
        abs.default acos.default acosh.default asin.default asinh.default atan.default atanh.default
        ceil.default cos.default cosh.default erf.default erfc.default exp.default exp2.default
        expm1.default floor.default isfinite.default isinf.default isnan.default log.default
        log10.default log1p.default log2.default logical_and.default logical_not.default
        logical_or.default logical_xor.default neg.default reciprocal.default relu.default
        round.default rsqrt.default sigmoid.default sign.default sin.default sinh.default
        sqrt.default square.default tan.default tanh.default trunc.default
        add.Tensor add.Scalar sub.Tensor sub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar
        div.Tensor_mode div.Scalar_mode floor_divide.default remainder.Tensor remainder.Scalar
        atan2.default hypot.default fmod.Tensor fmod.Scalar fmax.default fmin.default
        bitwise_left_shift.Tensor bitwise_left_shift.Tensor_Scalar
        bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar
        maximum.default minimum.default pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar
        eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor
        gt.Scalar ge.Tensor ge.Scalar bitwise_not.default bitwise_and.Tensor bitwise_and.Scalar
        bitwise_or.Tensor bitwise_or.Scalar bitwise_xor.Tensor bitwise_xor.Scalar
        clamp.default clamp.Tensor masked_fill.Scalar masked_fill.Tensor where.self
        addmm.default baddbmm.default bmm.default mm.default mv.default dot.default matmul.default
        linear.default bilinear.default
        cat.default stack.default chunk.default unbind.int select.int unsqueeze.default
        transpose.int diagonal.default tril.default triu.default roll.default movedim.int
        narrow.default flatten.using_ints unflatten.int repeat_interleave.self_int
        cumsum.default gather.default index_select.default topk.default sort.default argsort.default
        max.default max.dim min.default min.dim amax.default amin.default argmax.default
        argmin.default scatter.src scatter_add.default any.default any.dim all.default all.dim
        prod.default prod.dim_int
        sum.default mean.default logsumexp.default zeros_like.default ones_like.default
        full_like.default copysign.Tensor copysign.Scalar cumprod.default erfinv.default
        unfold.default """, f, Array, F),
    **_named("""
        celu.default gelu.default glu.default hardshrink.default hardsigmoid.default
        hardswish.default hardtanh.default leaky_relu.default mish.default prelu.default
        relu6.default selu.default silu.default softplus.default softshrink.default
        threshold.default cosine_similarity.default pairwise_distance.default """, F),
    "log_sigmoid.default": F.logsigmoid, "elu.default": _elu,
    "hardtanh_.default": F.hardtanh,
    # elementwise
    "rsub.Tensor": _rsub, "rsub.Scalar": _rsub,
    "clamp_min.default": _clamp_min, "clamp_min.Tensor": _clamp_min,
    "clamp_max.default": _clamp_max, "clamp_max.Tensor": _clamp_max,
    "where.ScalarOther": _where_scalars, "where.ScalarSelf": _where_scalars,
    "where.Scalar": _where_scalars, "_to_copy.default": _to_copy,
    "dropout.default": _dropout, "native_dropout.default": _native_dropout,
    "alias.default": _same, "clone.default": _same, "contiguous.default": _same,
    "detach.default": _same, "lift_fresh_copy.default": _same,
    # shapes
    "slice.Tensor": _slice, "squeeze.dim": _squeeze, "squeeze.dims": _squeeze,
    "squeeze.default": _squeeze, "expand.default": _expand, "split.Tensor": _split,
    "split_with_sizes.default": _split, "constant_pad_nd.default": _constant_pad,
    **{f"reflection_pad{axes}d.default": _pad_with("reflect") for axes in (1, 2, 3)},
    **{f"replication_pad{axes}d.default": _pad_with("replicate") for axes in (1, 2, 3)},
    "pad.default": _pad, "index.Tensor": _index, "index_put.default": _index_put,
    "copy.default": _copy, "fill.Scalar": _fill, "select_scatter.default": _select_scatter,
    "slice_scatter.default": _slice_scatter,
    "scatter.value": lambda x, dim, index, value: x.scatter(dim, index, value=value),
    "t.default": _t,
    "permute.default": lambda x, dims: x.permute(*dims),
    "view.default": lambda x, size: x.view(*size),
    "reshape.default": lambda x, size: x.reshape(*size),
    "_unsafe_view.default": lambda x, size: x.view(*size),
    "repeat.default": lambda x, repeats: x.repeat(*repeats),
    "flip.default": lambda x, dims: x.flip(*dims),
    # new arrays
    "empty.memory_format": _zeros,               # numbers that nobody may look at
    "full.default": _full, "zeros.default": _zeros, "ones.default": _ones,
    "new_zeros.default": _new(0), "new_ones.default": _new(1), "new_full.default": _new_full,
    "arange.default": _arange, "arange.start": _arange_start, "arange.start_step": _arange_start,
    "scalar_tensor.default": _scalar_tensor,
    # products, rows and tables
    "layer_norm.default": _layer_norm, "rms_norm.default": _rms_norm,
    "native_layer_norm.default": _native_layer_norm,
    "native_group_norm.default": _native_group_norm, "_cdist_forward.default": _cdist,
    "group_norm.default": _group_norm, "batch_norm.default": _batch_norm,
    "instance_norm.default": _instance_norm,
    "_native_batch_norm_legit_no_training.default": _native_batch_norm,
    "softmax.int": _softmax, "log_softmax.int": _log_softmax,
    "_softmax.default": _softmax_of_half(F.softmax),
    "_log_softmax.default": _softmax_of_half(F.log_softmax),
    "scaled_dot_product_attention.default": _attention, "embedding.default": _embedding,
    "_embedding_bag.default": _embedding_bag, "_embedding_bag_forward_only.default": _embedding_bag,
    "embedding_bag.padding_idx": _embedding_bag, "einsum.default": _einsum,
    # reductions
    "sum.dim_IntList": _over(f.sum), "mean.dim": _over(f.mean), "any.dims": _over(f.any),
    "all.dims": _over(f.all), "var.dim": _spread(f.var), "std.dim": _spread(f.std),
    "var.correction": _corrected(f.var), "std.correction": _corrected(f.std),
    "var_mean.correction": _var_mean, "linalg_vector_norm.default": _vector_norm,
    # sizes
    "sym_size.int": _size, "sym_numel.default": _numel,
}

# Functions of sizes, by name of the Python function that a node calls.
SIZE_FUNCTIONS: dict[str, Target] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
    "floordiv": _floor_divided, "mod": _remainder, "getitem": operator.getitem,
    # numbers that each call computes
    "truediv": lambda a, b: size_seen(a) / size_seen(b),
    "pow": lambda a, b: size_seen(a) ** size_seen(b), "sym_float": lambda a: size_seen(a) * 1.0,
    "_sym_sqrt": lambda a: np.sqrt(size_seen(a)), "sym_sqrt": lambda a: np.sqrt(size_seen(a)),
}
