"""Losses: how far an output is from its target, as one number or one for each example.

reduction: "mean" and "sum" are over all elements, "none" leaves them. size_average and reduce are
its older form. Their gradients are torch's, also where the derivative has a step.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ir import DimExpr, Error, product, same
from nncompile.array import Array, apply, as_array
from nncompile.array.core import in_graph
from nncompile.array.dispatch import current
from nncompile.array.elementwise import where
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside
from nncompile.nn.functional.linear import linear
from nncompile.nn.functional.normalization import pairwise_distance

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
           "cross_entropy", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss",
           "kl_div", "l1_loss", "linear_cross_entropy", "margin_ranking_loss", "mse_loss",
           "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
           "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
           "triplet_margin_with_distance_loss"]

_LEAST_LOG = -100.0                              # of a probability, as in torch
_STEEPEST = 1e12                                 # its slope there


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str = "mean") -> str:
    """Returns the reduction, by its older arguments where one of them is given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "mean" if size_average is None or size_average else "sum"


def _reduced(loss: Any, reduction: str) -> Array:
    """Returns the loss reduced. Raises InputError for another reduction."""
    if reduction not in ("none", "mean", "sum"):
        raise InputError(f"{reduction} is not a valid value for reduction: it is 'none', 'mean' or "
                         "'sum'")
    result: Array = loss if reduction == "none" else getattr(loss, reduction)()
    return result


def _floats(name: str, given: Any) -> Any:
    x = as_array(name, given)
    if not x.is_floating_point():
        raise Error(f"{name} takes floats, not {x.type}")
    return x


# -- of numbers ------------------------------------------------------------------------------------

def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Returns the two operands, and warns as torch does where one is broadcast."""
    x, t = as_array(name, input), as_array(name, target)
    if x.ndim != t.ndim or not same(x.shape, t.shape):
        warnings.warn(f"Using a target size ({t.shape}) that is different to the input size "
                      f"({x.shape}). This will likely lead to incorrect results due to "
                      "broadcasting. Please ensure they have the same size.", stacklevel=5)
    return x, t


def _weighted(loss: Any, x: Any, weight: Any, reduction: str, mean_of_weights: bool = True
              ) -> Array:
    """Returns the loss times a weight for each element, reduced.

    mean_of_weights: whether "mean" divides by the sum of the weights, and not by their number.
    """
    if weight is None:
        return _reduced(loss, reduction)
    w = as_array("weight", weight)
    if w.ndim != x.ndim or not same(w.shape, x.shape):
        raise InputError(f"Weights and input must have the same size: {w.type} for {x.type}")
    if reduction == "mean" and mean_of_weights:
        mean: Array = (loss * w).sum() / w.sum()
        return mean
    return _reduced(loss * w, reduction)


@from_outside
def l1_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
            reduction: str = "mean", weight: Any = None) -> Array:
    """Computes |input - target|. Raises InputError for a weight of another shape."""
    x, t = _pair("l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    return _weighted((x - t).abs(), x, weight, reduction)


@from_outside
def mse_loss(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
             reduction: str = "mean", weight: Any = None) -> Array:
    """Computes (input - target)^2. Raises InputError for a weight of another shape."""
    x, t = _pair("mse_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    return _weighted((x - t).square(), x, weight, reduction)


@from_outside
def smooth_l1_loss(input: Any, target: Any, size_average: bool | None = None,
                   reduce: bool | None = None, reduction: str = "mean", beta: float = 1.0) -> Array:
    """Computes d^2 / (2 beta) where d = |input - target| < beta, and d - beta / 2 elsewhere.

    Raises InputError for a negative beta.
    """
    x, t = _pair("smooth_l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    if beta < 0:
        raise InputError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    d = x - t
    if beta == 0:
        return _reduced(d.abs(), reduction)    
    far, (beyond, near) = d.abs(), _split(d, beta)
    return _reduced(where(beyond, far - 0.5 * beta, near * near * (0.5 / beta)), reduction)


def _split(d: Any, bound: float) -> tuple[Any, Any]:
    """Returns where |d| has reached a bound, and d with 0 there.

    The square of that has no infinite slope, which would be NaN where it is not chosen.
    """
    beyond = d.abs().ge(bound)
    return beyond, where(beyond, 0.0, d)


@from_outside
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0,
               weight: Any = None) -> Array:
    """Computes d^2 / 2 where d = |input - target| < delta, and delta (d - delta / 2) elsewhere.

    Raises InputError unless delta is positive, and for a weight of another shape.
    """
    x, t = _pair("huber_loss", input, target)
    if delta <= 0:
        raise InputError(f"huber_loss does not support non-positive values for delta, got {delta}")
    d = x - t
    far, (beyond, near) = d.abs(), _split(d, delta)
    loss = where(beyond, (far - 0.5 * delta) * delta, near * near * 0.5)
    return _weighted(loss, x, weight, reduction, mean_of_weights=False)


@from_outside
def soft_margin_loss(input: Any, target: Any, size_average: bool | None = None,
                     reduce: bool | None = None, reduction: str = "mean") -> Array:
    """Computes log(1 + exp(-target * input)) for targets 1 and -1."""
    x, t = _floats("soft_margin_loss", input), as_array("soft_margin_loss", target)
    loss = -apply("log_sigmoid", x * t)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Array:
    """Computes input where the target is 1, and max(0, margin - input) where it is -1."""
    x, t = as_array("hinge_embedding_loss", input), as_array("hinge_embedding_loss", target)
    loss = where(t.ne(1), (margin - x).clamp(min=0), 0.0) + where(t.ne(-1), x, 0.0)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Array:
    """Computes max(0, margin - target * (input1 - input2)) for targets 1 and -1.

    Raises InputError where the numbers of dimensions differ.
    """
    a, b, t = (as_array("margin_ranking_loss", given) for given in (input1, input2, target))
    if not a.ndim == b.ndim == t.ndim:
        raise InputError("margin_ranking_loss : All input tensors should have same dimension but "
                         f"got sizes: input1: {a.shape}, input2: {b.shape}, target: {t.shape}")
    loss = (-t * (a - b) + margin).clamp(min=0)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


# -- of distributions ------------------------------------------------------------------------------

@from_outside
def kl_div(input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None,
           reduction: str = "mean", log_target: bool = False) -> Array:
    """Computes target * (log(target) - input), where the input holds logarithms.

    log_target: the target does, too. reduction: "batchmean" divides the sum by the first size.
    """
    x, t = _floats("kl_div", input), as_array("kl_div", target)
    legacy = size_average is not None or reduce is not None
    if reduction == "mean" and not legacy:
        warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the "
                      "support size.'batchmean' divides only by the batch size, and aligns with "
                      "the KL div math definition.", stacklevel=4)
    reduction = reduction_of(size_average, reduce, reduction)
    if log_target:
        loss = t.exp() * (t - x)
    else:
        some = t.ne(0)                           # 0 log(0) is 0, and so is its slope
        loss = where(some, t * where(some, t, 1.0).log(), 0.0) - t * x
    if reduction != "batchmean":
        return _reduced(loss, reduction)       
    mean: Array = loss.sum() / in_graph(x.shape[0]) if x.ndim else loss.sum()
    return mean


@from_outside
def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8,
                     reduce: bool | None = None, reduction: str = "mean") -> Array:
    """Computes exp(input) - target * input, or without log_input input - target * log(input + eps).

    full: with Stirling's approximation of log(target!) for targets above 1.
    """
    x, t = _floats("poisson_nll_loss", input), as_array("poisson_nll_loss", target)
    loss = x.exp() - t * x if log_input else x - t * (x + eps).log()
    if full:
        some = where(t > 1, t, 1.0)
        stirling = some * some.log() - some + (some * (2 * math.pi)).log() * 0.5
        loss = loss + where(t > 1, stirling, 0.0)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Array:
    """Computes (log(v) + (input - target)^2 / v) / 2, with v = max(var, eps).

    The gradient of var is that of v, as in torch, also where var is below eps.
    var: of the input's shape, or with 1 in place of its last size, or without that; or a number.
    full: with log(2 pi) / 2.
    Raises InputError for another shape of var; for a negative one, too, but in a compiled model.
    """
    x, t = _floats("gaussian_nll_loss", input), as_array("gaussian_nll_loss", target)
    v = apply("full", float(var), shape=(), dtype=x.type.dtype) if isinstance(var, int | float) \
        else as_array("gaussian_nll_loss", var)
    if not current.get().records and bool((v < 0).any()):
        raise InputError("var has negative entry/entries")
    if v.ndim == x.ndim - 1 and (v.ndim or not isinstance(var, int | float)) and same(
            v.shape, x.shape[:-1]):
        v = v.unsqueeze(-1)
    elif (v.ndim != x.ndim and v.ndim) or (v.ndim and _extended(v.shape, x.shape) > 1):
        raise InputError(f"var is of incorrect size: {v.type} for {x.type}")
    if v.requires_grad or current.get().differentiates:
        v = (v - v.detach() + eps).where(v < eps, v)
    else:
        v = v.clamp(min=eps)
    loss = (v.log() + (x - t).square() / v) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)           


def _extended(small: Any, large: Any) -> float:
    """Returns how many sizes of 1 are another in `large`; infinity where others differ."""
    pairs = [(a, b) for a, b in zip(small, large, strict=True) if not same(a, b)]
    return len(pairs) if all(same(a, 1) for a, _ in pairs) else math.inf


@from_outside
def binary_cross_entropy(input: Any, target: Any, weight: Any = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Array:
    """Computes -(t log(p) + (1 - t) log(1 - p)) of probabilities p, with log at least -100.

    Raises InputError where the shapes differ, and for p outside of [0, 1], but in a compiled model,
    which gives NaN there.
    """
    p, t = _floats("binary_cross_entropy", input), as_array("binary_cross_entropy", target)
    if p.ndim != t.ndim or not same(p.shape, t.shape):
        raise InputError(f"Using a target size ({t.shape}) that is different to the input size "
                         f"({p.shape}) is deprecated. Please ensure they have the same size.")
    if not current.get().records and not bool(p.ge(0).logical_and(p.le(1)).all()):
        raise InputError("all elements of input should be between 0 and 1")
    least = math.exp(_LEAST_LOG)
    inside = p.gt(least).logical_and(p.lt(1))
    some = where(inside, p, 0.5)
    loss = (t - 1) * (-some).log1p() - t * some.log()
    at_0, at_1 = -_LEAST_LOG - p * _STEEPEST, -_LEAST_LOG + (p - 1) * _STEEPEST
    loss = where(inside, loss, where(p.le(least), t * at_0, (1 - t) * at_1))
    if weight is not None:
        loss = loss * as_array("binary_cross_entropy", weight)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None,
                                     size_average: bool | None = None, reduce: bool | None = None,
                                     reduction: str = "mean", pos_weight: Any = None) -> Array:
    """Computes the binary cross entropy of sigmoid(input), for inputs of any size.

    pos_weight: factors of the part of the target 1. Raises InputError where the shapes differ.
    """
    name = "binary_cross_entropy_with_logits"
    x, t = _floats(name, input), as_array(name, target)
    if x.ndim != t.ndim or not same(x.shape, t.shape):
        raise InputError(f"Target size ({t.shape}) must be the same as input size ({x.shape})")
    log = apply("log_sigmoid", x)
    if pos_weight is not None:
        log = log * ((as_array(name, pos_weight) - 1) * t + 1)
    loss = (1 - t) * x - log
    if weight is not None:
        loss = loss * as_array(name, weight)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Array:
    """Computes the mean over the last dimension of the binary cross entropy of sigmoid(input)."""
    name = "multilabel_soft_margin_loss"
    x, t = _floats(name, input), as_array(name, target)
    loss = -(t * apply("log_sigmoid", x) + (1 - t) * apply("log_sigmoid", -x))
    if weight is not None:
        loss = loss * as_array(name, weight)
    return _reduced(loss.mean(-1), reduction_of(size_average, reduce, reduction))


# -- of classes ------------------------------------------------------------------------------------

def _class_axis(name: str, x: Any) -> int:
    """Returns the dimension of the classes of [C], [N, C] or [N, C, d1, ...]."""
    if x.ndim == 0:
        raise InputError(f"{name} takes [C], [N, C] or [N, C, d1, ...], not a single number")
    return 0 if x.ndim == 1 else 1


def _class_weight(name: str, weight: Any, x: Any, axis: int) -> Any:
    """Returns a weight of each class, or None. Raises InputError for another number of them."""
    if weight is None:
        return None
    w = as_array(name, weight)
    if w.ndim != 1 or not same(w.shape[0], x.shape[axis]):
        raise InputError(f"{name}: weight tensor should be defined either for all "
                         f"{x.shape[axis]} classes or no classes but got weight tensor of shape: "
                         f"{w.shape}")
    return w._cast(x.type.dtype)


def _ids(name: str, target: Any, x: Any, axis: int, ignore_index: int) -> tuple[Any, Any]:
    """Returns the class of each example, 0 where it is ignored, and where it is not."""
    ids = as_array(name, target)
    if ids.is_floating_point() or ids.type.dtype == "bool":
        raise Error(f"{name} takes classes as integers, int64, not {ids.type}")
    expected = (*x.shape[:axis], *x.shape[axis + 1:])
    if ids.ndim != len(expected) or not same(ids.shape, expected):
        raise InputError(f"{name}: the target of {x.type} is of the shape {list(expected)}, not "
                         f"{ids.type}")
    ids = ids._cast("i64")
    taken = ids.ne(ignore_index)
    return where(taken, ids, 0), taken


def _of_class(x: Any, ids: Any, axis: int) -> Any:
    """Returns the element of each example's class. A class that is none raises where it runs."""
    return apply("take_along", x, ids.unsqueeze(axis), axis=axis).squeeze(axis)


@from_outside
def nll_loss(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
             ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean"
             ) -> Array:
    """Computes -input at each target's class: [N, C, ...] of logarithms and classes [N, ...].

    weight: [C], of the classes; "mean" divides by the sum of the targets'. Targets of ignore_index
    count 0, and where no other are, the mean is NaN.
    Raises InputError for shapes that do not fit, and Error for a class outside of 0..C-1.
    """
    x = _floats("nll_loss", input)
    axis = _class_axis("nll_loss", x)
    ids, taken = _ids("nll_loss", target, x, axis, ignore_index)
    w = _class_weight("nll_loss", weight, x, axis)
    reduction = reduction_of(size_average, reduce, reduction)
    return _of_classes(-_of_class(x, ids, axis), ids, taken, w, reduction)


def _of_classes(loss: Any, ids: Any, taken: Any, w: Any, reduction: str) -> Array:
    """Returns the losses of examples whose classes have weights, reduced."""
    weights = None if w is None else apply("take", w, ids, axis=0)
    loss = where(taken, loss if weights is None else loss * weights, 0.0)
    if reduction != "mean":
        return _reduced(loss, reduction)
    counted = taken._cast(loss.type.dtype) if weights is None else where(taken, weights, 0.0)
    mean: Array = loss.sum() / counted.sum()
    return mean


@from_outside
def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: bool | None = None,
                  ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Array:
    """Computes the cross entropy of softmax(input): [N, C, ...] of logits and classes [N, ...].

    target: classes, or probabilities of the input's shape and of floats. weight, ignore_index: as
    in nll_loss; "mean" of probabilities divides by the number of examples. label_smoothing: the
    part of each target that is divided among all classes.
    Raises InputError for shapes and options that do not fit, and Error for a class outside of
    0..C-1.
    """
    x, t = _floats("cross_entropy", input), as_array("cross_entropy", target)
    axis = _class_axis("cross_entropy", x)
    if not 0 <= label_smoothing <= 1:
        raise InputError("label_smoothing must be between 0.0 and 1.0. Got: "
                         f"{label_smoothing}")
    w = _class_weight("cross_entropy", weight, x, axis)
    reduction = reduction_of(size_average, reduce, reduction)
    logs = apply("log_softmax", x, axis=axis)
    if t.ndim == x.ndim:
        return _of_probabilities(logs, t, axis, w, label_smoothing, ignore_index, reduction)
    ids, taken = _ids("cross_entropy", t, x, axis, ignore_index)
    loss = _of_classes(-_of_class(logs, ids, axis), ids, taken, w, reduction)
    if label_smoothing == 0:
        return loss                            
    spread = where(taken, -_times(logs, w, axis).sum(axis), 0.0)
    if reduction == "mean":
        counted = taken._cast(x.type.dtype)
        counted = counted if w is None else counted * apply("take", w, ids, axis=0)
        spread = spread.sum() / counted.sum()
    else:
        spread = _reduced(spread, reduction)
    each = label_smoothing / in_graph(x.shape[axis])
    mixed: Array = loss * (1 - label_smoothing) + spread * each
    return mixed


def _times(x: Any, w: Any, axis: int) -> Any:
    """Returns x times a weight of each class."""
    return x if w is None else x * w.reshape([-1, *[1] * (x.ndim - 1 - axis)])


def _of_probabilities(logs: Any, t: Any, axis: int, w: Any, smoothing: float, ignore_index: int,
                      reduction: str) -> Array:
    if not same(t.shape, logs.shape):
        raise InputError(f"cross_entropy: probabilities {t.type} for {logs.type}, which are not of "
                         "one shape")
    if not t.is_floating_point():
        raise Error("cross_entropy: expected floating point type for target with class "
                    f"probabilities, got {t.type}")
    if ignore_index >= 0:
        raise InputError("ignore_index is not supported for floating point target")
    if smoothing:
        t = t * (1 - smoothing) + smoothing / in_graph(logs.shape[axis])
    loss = -_times(logs * t, w, axis).sum(axis)
    return _reduced(loss, reduction)


@from_outside
def linear_cross_entropy(input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None,
                         weight: Any = None, reduction: str = "mean",
                         ignore_index: int | None = None, label_smoothing: float = 0.0,
                         options: Any = None) -> Array:
    """Computes the cross entropy of linear(input, linear_weight, linear_bias).

    input: [N, in_features] or [in_features]. linear_weight: [C, d1, ..., in_features]; the target
    is as cross_entropy's for [N, C, d1, ...]. options say how torch divides the work, and mean
    nothing here.
    Raises InputError for shapes that do not fit, and for ignore_index with probabilities.
    """
    x, w, t = (as_array("linear_cross_entropy", a) for a in (input, linear_weight, target))
    if x.ndim not in (1, 2):
        raise InputError(f"expected input with dimensionality 1 or 2, got {x.ndim}")
    if w.ndim < 2:
        raise InputError(f"expected linear_weight with dimensionality at least 2, got {w.ndim}")
    *outputs, features = w.shape
    if not same(x.shape[-1], features):
        raise InputError("expected equal input and linear_weight last dimensions (in_features), "
                         f"got {x.shape[-1]} and {features}, respectively")
    bias = None if linear_bias is None else as_array("linear_cross_entropy", linear_bias)
    if bias is not None and (bias.ndim != len(outputs) or not same(bias.shape, outputs)):
        raise InputError(f"expected linear_bias shape {tuple(outputs)}, got {tuple(bias.shape)}")
    if len(outputs) > 1 and x.ndim == 1:
        raise InputError("K-dimensional loss defined by linear_weight shape "
                         f"{tuple(w.shape)} requires batched input")
    if t.ndim == x.ndim - 1 + len(outputs) and ignore_index is not None:
        raise InputError("ignore_index cannot be specified when target contains probabilities")
    flat = None if bias is None else bias.reshape(-1)
    logits = linear(x, w.reshape(product(outputs), features), flat)
    logits = logits.reshape([*x.shape[:-1], *outputs])
    result: Array = cross_entropy(
        logits, t, weight, reduction=reduction, label_smoothing=label_smoothing,
        ignore_index=-100 if ignore_index is None else ignore_index)
    return result


@from_outside
def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      size_average: bool | None = None, reduce: bool | None = None,
                      reduction: str = "mean") -> Array:
    """Computes the mean over the classes of max(0, margin - input[class] + input)^p, but its own.

    input: [N, C] or [C], and the target's classes [N] or []. weight: [C], of the classes.
    Raises InputError for shapes that do not fit and for p other than 1 and 2, and Error for a class
    outside of 0..C-1.
    """
    if p not in (1, 2):
        raise InputError("only p == 1 and p == 2 supported")
    x, axis = _rows("multi_margin_loss", input)
    w = _class_weight("multi_margin_loss", weight, x, axis)
    ids, _ = _ids("multi_margin_loss", target, x, axis, -1)
    ids = as_array("multi_margin_loss", target)._cast("i64")
    gap = (margin - _of_class(x, ids, axis).unsqueeze(axis) + x).clamp(min=0)
    gap = gap * gap if p == 2 else gap
    classes = apply("iota", shape=(x.shape[axis],), axis=0, dtype="i64")
    loss = where(ids.unsqueeze(axis).eq(classes), 0.0, gap).mean(axis)
    if w is not None:
        loss = loss * apply("take", w, ids, axis=0)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def multilabel_margin_loss(input: Any, target: Any, size_average: bool | None = None,
                           reduce: bool | None = None, reduction: str = "mean") -> Array:
    """Computes the sum of max(0, 1 - input[a] + input[b]) / C for classes a of it and b not of it.

    input and target: [N, C] or [C]. A target's classes are those before the first -1.
    Raises InputError for shapes that do not fit, and Error for a class above C-1.
    """
    x, axis = _rows("multilabel_margin_loss", input)
    ids = as_array("multilabel_margin_loss", target)._cast("i64")
    if ids.ndim != x.ndim or not same(ids.shape, x.shape):
        raise InputError(f"multilabel_margin_loss: inconsistent target size {ids.type} for "
                         f"{x.type}")
    valid = ids.lt(0).cumsum(axis).eq(0)
    ids = where(valid, ids, 0)
    chosen = apply("take_along", x, ids, axis=axis)
    classes = apply("iota", shape=(x.shape[axis],), axis=0, dtype="i64")
    own = ids.unsqueeze(-1).eq(classes).logical_and(valid.unsqueeze(-1)).any(axis)
    gap = (1 - chosen.unsqueeze(-1) + x.unsqueeze(axis)).clamp(min=0)
    counted = valid.unsqueeze(-1).logical_and(own.logical_not().unsqueeze(axis))
    loss = where(counted, gap, 0.0).sum(-1).mean(-1)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


def _rows(name: str, input: Any) -> tuple[Any, int]:
    """Returns [N, C] or [C], and the dimension of the classes."""
    x = _floats(name, input)
    if x.ndim not in (1, 2):
        raise InputError(f"{name} takes [N, C] or [C], not {x.type}")
    return x, x.ndim - 1


# -- of embeddings ---------------------------------------------------------------------------------

@from_outside
def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Array:
    """Computes 1 - cos where the target is 1, and max(0, cos - margin) where it is -1.

    cos is of the angle between the rows of two inputs [N, D], or of two vectors [D].
    Raises InputError for a target that has not the shape [N], or [].
    """
    a, b, t = (as_array("cosine_embedding_loss", given) for given in (input1, input2, target))
    if not (a.ndim == b.ndim == t.ndim + 1 and t.ndim in (0, 1)):
        raise InputError(f"cosine_embedding_loss takes two inputs [N, D] and a target [N], or [D] "
                         f"and []; not {a.type}, {b.type} and {t.type}")
    sizes = ((a * a).sum(-1) + 1e-12) * ((b * b).sum(-1) + 1e-12)
    cosine = (a * b).sum(-1) / sizes.sqrt()
    loss = where(t.eq(1), 1 - cosine, 0.0) + where(t.eq(-1), (cosine - margin).clamp(min=0), 0.0)
    return _reduced(loss, reduction_of(size_average, reduce, reduction))


@from_outside
def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Array:
    """Computes max(0, margin + |anchor - positive + eps| - |anchor - negative + eps|), p-norms.

    swap: the positive's distance from the negative counts, too, if it is smaller.
    Raises InputError unless the margin is positive and the numbers of dimensions are equal.
    """
    def distance(a: Any, b: Any) -> Any:
        return pairwise_distance(a, b, p, eps)

    reduction = reduction_of(size_average, reduce, reduction)
    return _triplets(distance, anchor, positive, negative, margin, swap, reduction)


@from_outside
def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Any = None, margin: float = 1.0,
                                      swap: bool = False, reduction: str = "mean") -> Array:
    """Computes the triplet margin loss by another distance of pairs; by default the 2-norm.

    Raises InputError unless the margin is positive and the numbers of dimensions are equal.
    """
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplets(distance, anchor, positive, negative, margin, swap, reduction)


def _triplets(distance: Any, anchor: Any, positive: Any, negative: Any, margin: float, swap: bool,
              reduction: str) -> Array:
    a, near, far = (as_array("triplet_margin_loss", x) for x in (anchor, positive, negative))
    if margin <= 0:
        raise InputError(f"margin must be greater than 0, got {margin}")
    if not a.ndim == near.ndim == far.ndim:
        raise InputError("The anchor, positive, and negative tensors are expected to have the same "
                         f"number of dimensions, but got: anchor {a.ndim}D, positive {near.ndim}D, "
                         f"and negative {far.ndim}D inputs")
    away = distance(a, far)
    if swap:
        away = away.minimum(distance(near, far))
    return _reduced((margin + distance(a, near) - away).clamp(min=0), reduction)


# -- of sequences ----------------------------------------------------------------------------------

_IMPOSSIBLE = -1e30                              # the logarithm of 0, with which one can compute


@from_outside
def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Array:
    """Computes -log of the probability that a sequence of classes and blanks spells the target.

    log_probs: [T, N, C] or [T, C], logarithms of probabilities. targets: classes [N, S], or one
    after the other [sum(target_lengths)]; the lengths are [N], or []. "mean" divides each loss by
    its target's length first. zero_infinity: a target that does not fit counts 0.
    Source: Graves et al. (2006), Connectionist Temporal Classification.
    Raises Error where T is not known before run time, and in a trace for targets one after the
    other; InputError for shapes and lengths that do not fit.
    """
    x = _floats("ctc_loss", log_probs)
    single = x.ndim == 2
    x = x.unsqueeze(1) if single else x
    if x.ndim != 3 or isinstance(x.shape[0], DimExpr) or same(x.shape[0], 0):
        raise InputError(f"ctc_loss takes [T, N, C] or [T, C] with a known number T > 0 of steps, "
                         f"not {as_array('ctc_loss', log_probs).type}")
    if not 0 <= blank < x.shape[2]:
        raise InputError(f"blank must be in label range, got {blank}")
    times, sizes = (_lengths(given, x.shape[1]) for given in (input_lengths, target_lengths))
    _check_lengths(times, x.shape[0])
    labels = _in_rows(as_array("ctc_loss", targets), sizes, x.shape[1])
    loss = -_log_probability(x, labels, times, sizes, blank)
    if zero_infinity:
        loss = where(loss.isinf(), 0.0, loss)
    if reduction == "mean":
        loss = loss / sizes.clamp(min=1)._cast(x.type.dtype)
    return _reduced(loss.squeeze(0) if single and reduction == "none" else loss, reduction)


def _lengths(given: Any, count: Any) -> Any:
    if isinstance(given, tuple | list):
        given = np.array(given, np.int64)
    array = as_array("ctc_loss", given)._cast("i64")
    array = array.reshape(1) if array.ndim == 0 else array
    if array.ndim != 1 or not same(array.shape[0], count):
        raise InputError(f"ctc_loss takes {count} lengths, not {array.type}")
    return array


def _check_lengths(times: Any, most: int) -> None:
    if not current.get().records and bool(times.gt(most).any()):
        raise InputError(f"Expected input_lengths to have value at most {most}")


def _in_rows(targets: Any, sizes: Any, count: Any) -> Any:
    """Returns the classes of the targets as rows [N, S]; what is after a target is unspecified."""
    targets = targets._cast("i64")
    if targets.ndim == 2:
        return targets
    numbers = sizes._numbers("ctc_loss with targets one after the other")
    if targets.ndim != 1 or not same(targets.shape[0], int(numbers.sum())):
        raise InputError(f"ctc_loss: the target lengths are {int(numbers.sum())} in all, and the "
                         f"targets {targets.type}")
    if not targets.shape[0]:
        return apply("full", 0.0, shape=(count, 0), dtype="i64")
    starts = (np.cumsum(numbers) - numbers)[:, None]
    places = np.minimum(starts + np.arange(numbers.max()), int(numbers.sum()) - 1)
    return apply("take", targets, as_array("ctc_loss", places), axis=0)


def _log_probability(x: Any, labels: Any, times: Any, sizes: Any, blank: int) -> Any:
    """Returns the logarithm for each of N targets, -inf where it does not fit into its steps.

    The states of a row are its classes with blanks around them, and after t steps each has the
    logarithm of the probability to be there.
    """
    count, states = x.shape[1], 2 * labels.shape[1] + 1
    used = apply("iota", shape=(labels.shape[1],), axis=0, dtype="i64").lt(sizes.unsqueeze(1))
    labels = where(used, labels, blank)
    blanks = labels * 0 + blank
    path = labels.unsqueeze(2)
    path = apply("concat", blanks.unsqueeze(2), path, axis=2).reshape([count, states - 1])
    last = apply("full", float(blank), shape=(count, 1), dtype="i64")
    path = apply("concat", path, last, axis=1)   # [N, 2 S + 1]
    number = apply("iota", shape=(states,), axis=0, dtype="i64")
    skips = path.ne(blank).logical_and(path.ne(_later(path, 2, float(blank))))
    now = where(number.lt(2), apply("take_along", x[0], path, axis=1), _IMPOSSIBLE)
    for step in range(1, x.shape[0]):
        ways = (now, _later(now, 1, _IMPOSSIBLE),
                where(skips, _later(now, 2, _IMPOSSIBLE), _IMPOSSIBLE))
        there = _log_sum(*ways) + apply("take_along", x[step], path, axis=1)
        now = where(times.gt(step).unsqueeze(1), there, now)
    end = (sizes * 2).unsqueeze(1)
    last_two = number.eq(end).logical_or(number.eq(end - 1))
    result = _log_sum(where(last_two, now, _IMPOSSIBLE)).squeeze(1)
    result = where(times.eq(0), where(sizes.eq(0), 0.0, _IMPOSSIBLE), result)
    return where(result.le(_IMPOSSIBLE / 2), -math.inf, result)


def _later(x: Any, by: int, value: float) -> Any:
    """Returns x [N, L] with each element moved to the right, and a value in front."""
    moved = apply("pad", x, low=(0, by), high=(0, 0), value=value)
    return moved[:, :x.shape[1]]


def _log_sum(*ways: Any) -> Any:
    """Returns log(sum(exp)) of several arrays, or along the rows of one."""
    rows = len(ways) == 1
    top = ways[0].amax(1, keepdim=True) if rows else ways[0]
    for way in ways[1:]:
        top = top.maximum(way)
    top = top.clamp(min=_IMPOSSIBLE)
    parts = [(way - top).exp() for way in ways]
    total = parts[0].sum(1, keepdim=True) if rows else sum(parts[1:], parts[0])
    return top + total.log()
