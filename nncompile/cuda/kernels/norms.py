"""The kernels layer_norm and rms_norm."""
from __future__ import annotations

from nncompile.cuda.kernels.kernel import Kernel, word
from nncompile.cuda.kernels.rows import TWICE, row_kernel


def layer_norm(weight: bool, bias: bool, dtype: str, threads: int) -> Kernel:
    """y[row] = (x[row] - mean) / sqrt(variance + eps) * weight + bias. y may be x.

    Welford's method (Technometrics 4(3), 1962), with pairs combined as by Chan, Golub and LeVeque
    (1979), on distances from the row's first element, so that neither a large mean nor an outlier
    costs digits, and a constant row gives exact zeros.
    """
    affine = " * weight[weight_at + i]" * weight + " + bias[bias_at + i]" * bias
    return row_kernel(
        "layer_norm" + "_weight" * weight + "_bias" * bias, _signature(weight, bias, dtype),
        [f"Layer norm, a block of {threads} threads a row: mean and squares in one reading, by "
         "Welford's method, of distances from the row's first number."], dtype, threads, {
        "@shared": f"""
counts = cuda.shared.array({threads}, {word(dtype)})
means = cuda.shared.array({threads}, {word(dtype)})
squares = cuda.shared.array({threads}, {word(dtype)})""",
        "@start": """
origin = T(0)
if N > 0:
    origin = x[x_at + row * ldx] * scale
count, mean, square = T(0), T(0), T(0)""",
        "@read": """
distance = x[x_at + row * ldx + i] * scale - origin
count += T(1)
delta = distance - mean
mean += delta / count
square += delta * (distance - mean)""",
        "@share": """
counts[thread], means[thread], squares[thread] = count, mean, square""",
        "@join": """
count = counts[thread] + counts[there]
if counts[there] > T(0):
    delta = means[there] - means[thread]
    share = counts[there] / count
    squares[thread] += squares[there] + delta * delta * counts[thread] * share
    means[thread] += delta * share
    counts[thread] = count""",
        "@fits": "squares[0] < T(inf)",
        "@write": f"""
mean = means[0]
inverse = T(1) / sqrt(squares[0] / counts[0] + eps * scale * scale)
for i in range(int64(thread), N, {threads}):
    value = (x[x_at + row * ldx + i] * scale - origin - mean) * inverse
    y[y_at + row * ldy + i] = value{affine}"""}, TWICE)


def rms_norm(weight: bool, dtype: str, threads: int) -> Kernel:
    """y[row] = x[row] / sqrt(mean of squares + eps) * weight. y may be x."""
    affine = " * weight[weight_at + i]" * weight
    return row_kernel(
        "rms_norm" + "_weight" * weight, _signature(weight, False, dtype),
        [f"RMS norm, a block of {threads} threads a row: the squares in one reading."], dtype,
        threads, {
        "@shared": f"squares = cuda.shared.array({threads}, {word(dtype)})",
        "@start": "square = T(0)",
        "@read": """
s = x[x_at + row * ldx + i] * scale
square += s * s""",
        "@share": "squares[thread] = square",
        "@join": "squares[thread] += squares[there]",
        "@fits": "squares[0] < T(inf)",
        "@write": f"""
inverse = T(1) / sqrt(squares[0] / T(N) + eps * scale * scale)
for i in range(int64(thread), N, {threads}):
    y[y_at + row * ldy + i] = x[x_at + row * ldx + i] * scale * inverse{affine}"""}, TWICE)


def _signature(weight: bool, bias: bool, dtype: str) -> str:
    array = f"{dtype}[]"
    return (f"x:{array} ldx {f'weight:{array} ' * weight}{f'bias:{array} ' * bias}"
            f"y:{array} ldy rows N eps:{dtype}")
