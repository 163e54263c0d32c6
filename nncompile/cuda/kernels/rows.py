"""softmax, layer_norm and reductions: a block takes rows one by one, reading each once.

A thread goes over every so manieth element of its row, and the threads' results are put together
in shared memory, in pairs, so a row's bits depend on its own length alone.
"""
from __future__ import annotations

from nncompile.cuda.kernels.chain import applied
from nncompile.cuda.kernels.kernel import Kernel, definition, signature
from nncompile.cuda.kernels.product import filled

# One loop for all: `@start` before a row, `@read` for each of its elements, `@share` and `@join`
# put two threads' results together, `@write` is what is done with the first thread's.
BODY = """\
@shared
    thread = cuda.threadIdx.x
    row = int64(cuda.blockIdx.x)
    while row < rows:
@start
        for i in range(int64(thread), N, {threads}):
@read
@share
        cuda.syncthreads()
        half = {half}
        while half > 0:                                 # in pairs: the other half is `there`
            if thread < half:
                there = thread + half
@join
            cuda.syncthreads()
            half //= 2
@write
        cuda.syncthreads()
        row += cuda.gridDim.x"""


def row_kernel(name: str, letters: dict[str, str], about: list[str], dtype: str, threads: int,
               parts: dict[str, str]) -> Kernel:
    """`parts` are the texts of BODY's words; T( in them is the type."""
    indents = {"@shared": 4, "@start": 8, "@read": 12, "@share": 8, "@join": 16, "@write": 8}
    lines = {word: [" " * indent + line for line in parts[word].replace("T(", f"{dtype}(")
                    .strip("\n").split("\n")] for word, indent in indents.items()}
    body = filled(BODY.format(threads=threads, half=threads // 2), {**lines})
    return Kernel(name, tuple(letters), "".join(letters.values()),
                  definition(name, letters, about, body), dtype, threads)


def softmax(dtype: str, threads: int) -> Kernel:
    """y = exp(s - max s) / sum of the same, s = x * scale.  y may be x.

    One reading gives the largest s and the sum beside it; where a larger s comes, the sum so far
    is scaled.  A row with inf, with NaN, or of -inf alone is NaN, as in torch.
    """
    name = f"softmax_{threads}_{dtype}"
    letters = signature("x:p ldx y:p ldy rows N scale:s")
    return row_kernel(name, letters, [
        f"Softmax of x * scale, a block of {threads} threads a row: the largest number and the sum "
        "of exponentials below it in one reading, the sum scaled where a larger number comes."],
        dtype, threads, {
        "@shared": f"""
tops = cuda.shared.array({threads}, {dtype})
sums = cuda.shared.array({threads}, {dtype})""",
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
for i in range(int64(thread), N, {threads}):
    y[y_at + row * ldy + i] = exp(x[x_at + row * ldx + i] * scale - top) / total"""})


def layer_norm(weight: bool, bias: bool, dtype: str, threads: int) -> Kernel:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias.  y may be x.

    Welford's method (Technometrics 4(3), 1962), pairs by Chan, Golub and LeVeque (1979), on
    distances from the row's first number, so that neither a large mean nor an outlier costs digits,
    and a constant row gives exact zeros.
    """
    name = f"layer_norm{'_weight' * weight}{'_bias' * bias}_{threads}_{dtype}"
    letters = signature(f"x:p ldx {'weight:p ' * weight}{'bias:p ' * bias}y:p ldy rows N eps:s")
    affine = " * weight[weight_at + i]" * weight + " + bias[bias_at + i]" * bias
    return row_kernel(name, letters, [
        f"Layer norm, a block of {threads} threads a row: mean and squares in one reading, by "
        "Welford's method, of distances from the row's first number."], dtype, threads, {
        "@shared": f"""
counts = cuda.shared.array({threads}, {dtype})
means = cuda.shared.array({threads}, {dtype})
squares = cuda.shared.array({threads}, {dtype})""",
        "@start": """
origin = T(0)
if N > 0:
    origin = x[x_at + row * ldx]
count, mean, square = T(0), T(0), T(0)""",
        "@read": """
distance = x[x_at + row * ldx + i] - origin
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
        "@write": f"""
mean, scale = means[0], T(1) / sqrt(squares[0] / counts[0] + eps)
for i in range(int64(thread), N, {threads}):
    value = (x[x_at + row * ldx + i] - origin - mean) * scale
    y[y_at + row * ldy + i] = value{affine}"""})


def reduce(op: str, dtype: str, threads: int) -> Kernel:
    """y[row] = sum, mean or max of a row; NaN where there is one; the mean of nothing is NaN."""
    name = f"reduce_{op}_{threads}_{dtype}"
    letters = signature("x:p ldx y:p rows N")
    join = "maximum" if op == "max" else "add"
    first = f"{dtype}(-inf)" if op == "max" else f"{dtype}(0)"
    result = f"results[0] / {dtype}(N)" if op == "mean" else "results[0]"
    read = applied(join, ["x[x_at + row * ldx + i]"], dtype)
    both = applied(join, ["results[there]"], dtype)
    return row_kernel(name, letters, [f"The {op} of each row, a block of {threads} threads a row."],
                      dtype, threads, {
        "@shared": f"results = cuda.shared.array({threads}, {dtype})",
        "@start": f"value = {first}",
        "@read": "\n".join(read),
        "@share": "results[thread] = value",
        "@join": "\n".join(["value = results[thread]", *both, "results[thread] = value"]),
        "@write": f"if thread == 0:\n    y[y_at + row] = {result}"})
