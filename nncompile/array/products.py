"""Products of matrices, and einsum, which is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from ir import Error, product, same
from nncompile.array.core import apply, as_array
from nncompile.array.dtypes import Scalar
from nncompile.array.indexing import axes_of
from nncompile.array.selection import Selection

_A = TypeVar("_A", bound=Selection)


class Products(Selection):
    """The methods of Array that multiply matrices; dtypes have to be equal, as in torch."""

    def matmul(self, other: Any) -> Self:
        """Returns the matrix product [..., M, K] @ [..., K, N], with leading dimensions broadcast.

        A vector counts as a row on the left and as a column on the right, and its dimension goes.
        Raises Error where the sizes do not fit, for different dtypes, for integers and bools, and
        for zero-dimensional arrays.
        """
        right = as_array("matmul", other)
        if 0 in (self.ndim, right.ndim):
            raise Error(f"matmul needs dimensions on both sides, got {self.type} @ {right.type}")
        if not (self.is_floating_point() and right.is_floating_point()):
            raise Error(f"matmul takes floats, not {self.type} @ {right.type}\n  do: cast both, "
                        "x.double() @ y.double(), which is exact below 2^53")
        if self.ndim == 1:
            row = self.unsqueeze(0).matmul(right)
            return row.squeeze(-2 if right.ndim > 1 else 0)
        if right.ndim == 1:
            return self.matmul(right.unsqueeze(1)).squeeze(-1)
        return apply("matmul", self, right)

    def mm(self, mat2: Any) -> Self:
        """Returns the product of two matrices."""
        return self._ranked("mm", mat2, 2, 2)

    def bmm(self, mat2: Any) -> Self:
        """Returns the products of two batches of matrices, [B, M, K] @ [B, K, N]."""
        right = as_array("bmm", mat2)
        if self.ndim == right.ndim == 3 and not same(self.shape[0], right.shape[0]):
            raise Error(f"bmm takes equally many matrices, got {self.type} @ {right.type}")
        return self._ranked("bmm", right, 3, 3)

    def mv(self, vec: Any) -> Self:
        """Returns the product of a matrix [M, K] and a vector [K]."""
        return self._ranked("mv", vec, 2, 1)

    def dot(self, tensor: Any) -> Self:
        """Returns the inner product of two vectors."""
        return self._ranked("dot", tensor, 1, 1)

    def outer(self, vec2: Any) -> Self:
        """Returns the outer product [M, N] of vectors [M] and [N]."""
        right = as_array("outer", vec2)
        if (self.ndim, right.ndim) != (1, 1):
            raise Error(f"outer takes two vectors, got {self.type} and {right.type}")
        return self.unsqueeze(1).mul(right)

    def addmm(self, mat1: Any, mat2: Any, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """Returns beta * self + alpha * (mat1 @ mat2); self broadcasts."""
        return _scaled_sum(self, as_array("addmm", mat1).mm(mat2), beta, alpha)

    def baddbmm(self, batch1: Any, batch2: Any, *, beta: Scalar = 1, alpha: Scalar = 1) -> Self:
        """Returns beta * self + alpha * (batch1 @ batch2) of batches of matrices; self broadcasts.
        """
        return _scaled_sum(self, as_array("baddbmm", batch1).bmm(batch2), beta, alpha)

    def tensordot(self, other: Any, dims: Any = 2) -> Self:
        """Returns the tensor product summed over pairs of dimensions.

        dims: the number of last dimensions of self and first ones of `other`, or two lists of
        dimensions.
        Raises Error where paired sizes differ.
        """
        right = as_array("tensordot", other)
        if isinstance(dims, int):
            dims = (range(self.ndim - dims, self.ndim), range(dims))
        here, there = axes_of(self._type, dims[0]), axes_of(right.type, dims[1])
        if not same([self.shape[a] for a in here], [right.shape[a] for a in there]):
            raise Error(f"tensordot cannot sum {self.type} and {right.type} over {dims}")
        rows = [a for a in range(self.ndim) if a not in here]
        columns = [a for a in range(right.ndim) if a not in there]
        deep = product(self.shape[a] for a in here)
        of_rows, of_columns = [self.shape[a] for a in rows], [right.shape[a] for a in columns]
        left = self.permute([*rows, *here]).reshape(product(of_rows), deep)
        result = left.mm(right.permute([*there, *columns]).reshape(deep, product(of_columns)))
        return result.reshape([*of_rows, *of_columns])

    def _ranked(self, name: str, other: Any, left: int, right: int) -> Self:
        b = as_array(name, other)
        if (self.ndim, b.ndim) != (left, right):
            raise Error(f"{name} takes arrays of {left} and {right} axes, got {self.type} and "
                        f"{b.type}")
        return self.matmul(b)


def _scaled_sum(x: _A, y: _A, beta: Scalar, alpha: Scalar) -> _A:
    """Returns beta * x + alpha * y; with beta 0, NaN and infinities in x do not count, as in torch.
    """
    scaled = y if alpha == 1 else y.mul(alpha)
    return scaled if beta == 0 else scaled.add(x if beta == 1 else x.mul(beta))


# -- einsum ----------------------------------------------------------------------------------------

_Terms = tuple[str, ...]


def einsum(equation: str, *operands: Any) -> Any:
    """Returns the sum of products that an equation such as "bij,bjk->bik" describes.

    A letter names a dimension; `...` stands for leading dimensions, which broadcast; a letter twice
    in one operand is its diagonal. Without "->" the result has the letters that occur once, sorted.
    The operands are contracted pairwise from left to right, each step by one matrix product.
    Raises Error where the equation does not fit the operands, or one letter has two sizes.
    """
    is_list = len(operands) == 1 and isinstance(operands[0], list | tuple)
    given = operands[0] if is_list else operands
    arrays = [as_array("einsum", o) for o in given]
    terms, result = _parsed(equation, arrays)
    parts = [_diagonals(x, names) for x, names in zip(arrays, terms, strict=True)]

    def multiply(left: tuple[Any, _Terms], right: tuple[Any, _Terms], later: set[str]) -> Any:
        return _contracted(left, right, {*result, *later})

    total = parts[0]
    for number, part in enumerate(parts[1:], 2):
        later = {name for _, names in parts[number:] for name in names}
        total = multiply(total, part, later)
    x, names = _summed(total, set(result))
    if missing := [name for name in result if name not in names]:
        raise Error(f"einsum: {missing[0]} of the result is in no operand of {equation!r}")
    return x.permute([names.index(name) for name in result])


def _parsed(equation: str, arrays: Sequence[Any]) -> tuple[list[_Terms], _Terms]:
    """Returns the names of each operand's dimensions and of the result's.

    Those of `...` are numbers, counted from the last.
    """
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(arrays):
        raise Error(f"einsum: {equation!r} is about {len(inputs)} operands, not {len(arrays)}")
    terms = [_names_of(term, x.ndim, equation) for term, x in zip(inputs, arrays, strict=True)]
    widest = max(sum(name.isdigit() for name in names) for names in terms)
    dots = tuple(str(i) for i in reversed(range(widest)))
    if arrow:
        spread = "".join(right.split("..."))
        _check_letters(spread, equation)
        before, found, after = right.partition("...")
        result = (*before, *(dots if found else ()), *after)
        if len(set(result)) < len(result):
            raise Error(f"einsum: the result of {equation!r} names an axis twice")
    else:
        letters = [name for names in terms for name in names if not name.isdigit()]
        once = sorted(name for name in letters if letters.count(name) == 1)
        result = (*dots, *once)
    return terms, result


def _names_of(term: str, rank: int, equation: str) -> _Terms:
    before, found, after = term.partition("...")
    _check_letters(before + after, equation)
    hidden = rank - len(before + after)
    if hidden < 0 or (hidden and not found):
        raise Error(f"einsum: {term!r} of {equation!r} does not name the {rank} axes there are")
    return (*before, *(str(i) for i in reversed(range(hidden))), *after)


def _check_letters(letters: str, equation: str) -> None:
    if wrong := [c for c in letters if not (c.isascii() and c.isalpha())]:
        raise Error(f"einsum: {wrong[0]!r} in {equation!r} is no letter")


def _diagonals(x: Any, names: _Terms) -> tuple[Any, _Terms]:
    """Returns each name once: where one occurs twice, the diagonal of both dimensions."""
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            if not same(x.shape[first], x.shape[second]):
                raise Error(f"einsum: {name} is {x.shape[first]} and {x.shape[second]}")
            rows, columns = (_axis_numbers(x, axis) for axis in (first, second))
            x = apply("where", rows.eq(columns), x, 0.0).sum(second, dtype=x.dtype)
            names = (*names[:second], *names[second + 1 :])
    return x, names


def _axis_numbers(x: Any, axis: int) -> Any:
    shape = [size if i == axis else 1 for i, size in enumerate(x.shape)]
    return apply("iota", shape=tuple(shape), axis=axis, dtype="i64")


def _summed(part: tuple[Any, _Terms], needed: set[str]) -> tuple[Any, _Terms]:
    """Returns the operand summed over the dimensions that nothing else needs."""
    x, names = part
    gone = [axis for axis, name in enumerate(names) if name not in needed]
    if gone:
        x = x.sum(gone)
    return x, tuple(name for name in names if name in needed)


def _contracted(left: tuple[Any, _Terms], right: tuple[Any, _Terms], needed: set[str]
                ) -> tuple[Any, _Terms]:
    """Returns the product of two operands, summed over the dimensions that only they have.

    It is one matrix product over [shared and needed, only left, summed] and [shared and needed,
    summed, only right].
    """
    (x, of_x), (y, of_y) = _summed(left, needed | {*right[1]}), _summed(right, needed | {*left[1]})
    x, y = _spread(x, of_x, y, of_y)
    together = [name for name in of_x if name in of_y]
    stacked = [name for name in together if name in needed]
    inner = [name for name in together if name not in needed]
    rows = [name for name in of_x if name not in together]
    columns = [name for name in of_y if name not in together]
    size = dict(zip((*of_x, *of_y), (*x.shape, *y.shape), strict=True))
    if not inner:
        a = _ordered(x, of_x, stacked + rows).reshape(
            [size[n] for n in stacked + rows] + [1] * len(columns))
        b = _ordered(y, of_y, stacked + columns).reshape(
            [size[n] for n in stacked] + [1] * len(rows) + [size[n] for n in columns])
        return a * b, (*stacked, *rows, *columns)
    shape = [size[n] for n in stacked]
    wide, deep, long = (product(size[n] for n in names) for names in (rows, inner, columns))
    a = _ordered(x, of_x, stacked + rows + inner).reshape([*shape, wide, deep])
    b = _ordered(y, of_y, stacked + inner + columns).reshape([*shape, deep, long])
    result = a.matmul(b).reshape([size[n] for n in stacked + rows + columns])
    return result, (*stacked, *rows, *columns)


def _spread(x: Any, of_x: _Terms, y: Any, of_y: _Terms) -> tuple[Any, Any]:
    """Returns both operands with the same size on the dimensions they share; 1 goes with any size.
    """
    for name in [n for n in of_x if n in of_y]:
        a, b = of_x.index(name), of_y.index(name)
        m, n = x.shape[a], y.shape[b]
        if same(m, n):
            continue
        if same(m, 1):
            x = x.expand(*x.shape[:a], n, *x.shape[a + 1 :])
        elif same(n, 1):
            y = y.expand(*y.shape[:b], m, *y.shape[b + 1 :])
        else:
            raise Error(f"einsum: the axis {name} is {m} in {x.type} and {n} in {y.type}")
    return x, y


def _ordered(x: Any, names: _Terms, wanted: Sequence[str]) -> Any:
    return x.permute([names.index(name) for name in wanted])
