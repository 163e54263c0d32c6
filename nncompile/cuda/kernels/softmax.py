"""The kernels softmax and log_softmax."""
from __future__ import annotations

from nncompile.cuda.kernels.kernel import Kernel, word
from nncompile.cuda.kernels.rows import row_kernel


def softmax(dtype: str, threads: int, *, log: bool = False) -> Kernel:
    """y[row] = exp(s - max s) / sum of exp(s - max s), or its logarithm, where s = x[row] * scale.

    y may be x. A single reading finds the largest s and the sum: where a larger s comes, the sum so
    far is scaled. A row with inf, with NaN, or of -inf alone is NaN, as in torch.
    """
    result = "s - top - logarithm" if log else "exp(s - top) / total"
    logarithm = "logarithm = log(total)\n" * log
    signature = f"x:{dtype}[] ldx y:{dtype}[] ldy rows N scale:{dtype}"
    return row_kernel("log_" * log + "softmax", signature, [
        f"{'Log-softmax' if log else 'Softmax'} of x * scale, a block of {threads} threads a row: "
         "the largest number and the sum of exponentials below it in one reading, the sum scaled "
         "where a larger number comes."], dtype, threads, {
        "@shared": f"""
tops = cuda.shared.array({threads}, {word(dtype)})
sums = cuda.shared.array({threads}, {word(dtype)})""",
        "@start": "top, total = T(-inf), T(0)",
        "@read": """
s = x[x_at + row * ldx + i] * scale
if s > top:
    total = total * exp(top - s) + T(1)
    top = s
elif s == top:
    total += T(1)
else:
    total += exp(s - top)""",
        "@share": """
tops[thread], sums[thread] = top, total""",
        "@join": """
top = tops[thread] if tops[thread] > tops[there] else tops[there]
mine = T(1) if tops[thread] == top else exp(tops[thread] - top)
other = T(1) if tops[there] == top else exp(tops[there] - top)
sums[thread] = sums[thread] * mine + sums[there] * other
tops[thread] = top""",
        "@write": f"""
top, total = tops[0], sums[0] + (tops[0] - tops[0])     # NaN if the largest is not finite
{logarithm}for i in range(int64(thread), N, {threads}):
    s = x[x_at + row * ldx + i] * scale
    y[y_at + row * ldy + i] = {result}"""})
