"""Elements by index: take, take_along, scatter_add, put_rows, embedding_bag; walks through trees.

An index is checked before anything is read with it. A wrong one leaves zeros, and the first one
found is written to fault as step + 1, index, V. fault[0] stays 0 where all are right.
"""
from __future__ import annotations

from nncompile.cuda.kernels.axes import Axes
from nncompile.cuda.kernels.chain import applied
from nncompile.cuda.kernels.kernel import Kernel, Lines, each_element, filled, make, zero
from nncompile.cuda.target import Target


def take(index: str, rank: int, dtype: str, target: Target) -> Kernel:
    """y[u] = N elements of x from x[o] + ids[o] * ldx on, for the u-th index o of `rank` dims.

    There is one thread for each element of y. ids are int64 or int32 (`index` is "i64" or "i32").
    """
    axes = Axes(rank)
    signature = (f"y:{dtype}[] x:{dtype}[] ids:{index}[] V ldx N fault:words step {axes.sizes} "
                 + axes.strides("x", "ids"))
    count = f"N * {axes.count}" if rank else "N"
    body = ["        row, column = element // N, element % N",
            *axes.indices("row", " " * 8),
            *_gathered(axes, " + column", dtype)]
    return make(f"take_{index}_{rank}_{dtype}", signature, [
        "Rows of x by number, a thread a number of y.  A wrong number reads nothing and is "
        "reported: fault = step + 1, number, V."], each_element(count, body), target.threads)


def take_along(index: str, rank: int, dtype: str, target: Target) -> Kernel:
    """y[o] = x[o + ids[o] * ldx], for indices o of `rank` dims; one thread for each element of y.
    """
    axes = Axes(rank)
    signature = (f"y:{dtype}[] x:{dtype}[] ids:{index}[] V ldx fault:words step {axes.sizes} "
                 + axes.strides("x", "ids"))
    body = ["        rest = element", *axes.indices("rest", " " * 8), *_gathered(axes, "", dtype)]
    return make(f"take_along_{index}_{rank}_{dtype}", signature, [
        "A number of x for each id, a thread a number of y.  A wrong id reads nothing and is "
        "reported: fault = step + 1, id, V."],
        each_element(axes.count, body), target.threads)


def _gathered(axes: Axes, column: str, dtype: str) -> Lines:
    return [f"        number = int64(ids[{axes.place('ids')}])",
            "        if 0 <= number < V:",
            f"            y[y_at + element] = x[{axes.place('x')} + number * ldx{column}]",
            "        else:",
            f"            y[y_at + element] = {zero(dtype)}",
            *_reported("number", "V", 12)]


def _reported(number: str, size: str, indent: int) -> Lines:
    return [" " * indent + line for line in (
        "if cuda.atomic.compare_and_swap(fault, int64(0), step + 1) == 0:",
        f"    fault[1] = {number}",
        f"    fault[2] = {size}")]


def scatter_add(index: str, rank: int, dtype: str, target: Target) -> Kernel:
    """y[o, ids[o, n] * ldy + d] += x[o, n * ldx + d], n = 0, 1, ... N - 1, for `rank` dims of o.

    There is one thread for each o and d, which adds its elements in order.
    """
    axes = Axes(rank)
    signature = (f"y:{dtype}[] x:{dtype}[] ids:{index}[] V ldy N ldx ids_n D fault:words step "
                 f"{axes.sizes} " + axes.strides("y", "x", "ids"))
    body = ["        row, column = element // D, element % D",
            *axes.indices("row", " " * 8),
            "        for n in range(N):",
            f"            number = int64(ids[{axes.place('ids')} + n * ids_n])",
            "            if 0 <= number < V:",
            f"                y[{axes.place('y')} + number * ldy + column] += "
            f"x[{axes.place('x')} + n * ldx + column]",
            "            else:",
            *_reported("number", "V", 16)]
    return make(f"scatter_add_{index}_{rank}_{dtype}", signature, [
        "Adds each row of x to the row of y with its number, a thread a column.  A wrong number "
        "adds nothing and is reported: fault = step + 1, number, V."],
        each_element(f"D * {axes.count}" if rank else "D", body), target.threads)


def first_equal(index: str, target: Target) -> Kernel:
    """y[n] = the least m with ids[m] = ids[n]; one thread for each n, which looks at all before."""
    body = ["        first = int64(0)",
            "        while ids[ids_at + first] != ids[ids_at + element]:",
            "            first += 1",
            "        y[y_at + element] = first"]
    return make(f"first_equal_{index}", f"y:i64[] ids:{index}[] N", [
        "The number of the first id that is equal, a thread an id."],
        each_element("N", body), target.threads)


def put_rows(index: str, dtype: str, target: Target) -> Kernel:
    """y[i] = rows[n] for the least n with ids[n] = i, or x[i] where there is none; rows of D.

    There is one thread for each column. Ids outside of 0 to V - 1 are left out.
    """
    signature = f"y:{dtype}[] x:{dtype}[] rows:{dtype}[] ids:{index}[] V N D"
    body = ["        for row in range(V):",
            "            y[y_at + row * D + element] = x[x_at + row * D + element]",
            "        for before in range(N):",
            "            n = N - 1 - before",
            "            number = int64(ids[ids_at + n])",
            "            if 0 <= number < V:",
            "                y[y_at + number * D + element] = rows[rows_at + n * D + element]"]
    return make(f"put_rows_{index}_{dtype}", signature, [
        "Copies x, and puts rows in the places of their ids, a thread a column.  Of equal ids the "
        "first one counts, and those outside of x are left out."],
        each_element("D", body), target.threads)


def tree_walk(missing: bool, dtype: str, target: Target) -> Kernel:
    """y[i, t] = the node that row i of x reaches from roots[t]; one thread for each element of y.

    A step from a node (feature, above, up to) compares x[i, feature] with its threshold; with
    `missing` a node has one more to lead to, for NaN.
    """
    signature = (f"x:{dtype}[] ldx nodes:i32[] thresholds:{dtype}[] roots:i32[] y:i32[] rows T "
                 "steps")
    body = ["        row, tree = element // T, element % T",
            "        at, step = int64(roots[roots_at + tree]), int64(0)",
            "        while step < steps:",
            f"            node = nodes_at + {3 + missing} * at",
            "            value = x[x_at + row * ldx + int64(nodes[node])]",
            "            following = int64(nodes[node + 1])",
            "            if value <= thresholds[thresholds_at + at]:",
            "                following = int64(nodes[node + 2])",
            *["            elif value != value:",
              "                following = int64(nodes[node + 3])"] * missing,
            "            step = steps if following == at else step + 1",
            "            at = following",
            "        y[y_at + element] = int32(at)"]
    return make(f"tree_walk{'_missing' * missing}_{dtype}", signature, [
        "The node that a row reaches from a root, a thread a row and root.  A leaf leads to "
        "itself."], each_element("rows * T", body), target.threads)


_BAG = """
        bag, column = element // D, element % D
        first, stop = int64(offsets[offsets_at + bag]), count
        if bag + 1 < bags + last:
            stop = int64(offsets[offsets_at + bag + 1])
        begins = first == 0 if bag == 0 else first >= 0
        if not (begins and first <= stop <= count):
            @wrong_offset
            stop = first
        total, found = T(0), int64(0)
        for n in range(first, stop):
            number = int64(ids[ids_at + n])
            if not 0 <= number < V:
                @wrong_id
            elif number != padding:
                value = table[table_at + number * D + column]@weight
                @add
                found += 1
        y[y_at + bag * ldy + column] = @result"""


def embedding_bag(mode: str, index: str, offsets: str, weighted: bool, dtype: str,
                  target: Target) -> Kernel:
    """y[i] = the sum, mean or maximum of the rows table[ids[n]], times weights[n], of bag i.

    Bag i has n from offsets[i] up to offsets[i + 1], and the last bag up to `count`, the number of
    ids; with `last` = 1 there is one more offset instead. Ids equal to `padding` (-1: none) are
    left out; an empty bag gives 0. Offsets that do not begin with 0 and rise to at most `count`
    leave zeros, and the fault step + 1, offset, -1 - count. There is one thread for each element of
    y.
    """
    weights = f"weights:{dtype}[] " * weighted
    signature = (f"ids:{index}[] offsets:{offsets}[] table:{dtype}[] V D y:{dtype}[] ldy "
                 f"bags count {weights}padding fault:words step last")
    highest = ["if found > 0:", *("    " + line for line in applied(
        "highest", ["total", "value"], dtype)), "total = value"]
    T = zero(dtype).removesuffix("(0)")
    body = filled(_BAG.replace("T(", f"{T}("), {
        "@wrong_offset": _reported("stop if begins else first", "-1 - count", 0),
        "@wrong_id": _reported("number", "V", 0),
        "@weight": " * weights[weights_at + n]" * weighted,
        "@add": highest if mode == "max" else "total += value",
        "@result": f"total / {T}(found if found > 0 else 1)" if mode == "mean" else "total"})
    name = f"embedding_bag_{mode}{'_weighted' * weighted}_{index}_{offsets}_{dtype}"
    return make(name, signature, [
        f"The {mode} of rows of table[V, D] by bags, a thread a number of y.  A wrong id or offset "
        "reads nothing and is reported."], each_element("bags * D", body), target.threads)
