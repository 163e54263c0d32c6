"""What an exported program requires of sizes: torch's ranges and guards, as requirements of ours.

torch.export follows one branch of each `if` about sizes, and notes as a guard what it went by. A
call for which a guard does not hold would have taken the other branch, so it is refused.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from ir import Error, Where
from ir.graph import RELATIONS, Requirement
from ir.records import replace
from ir.types import Dim, divide, floor_div, same

Agrees = Callable[[Mapping[str, int]], bool]     # the module and the graph, for sizes by symbol
_LARGEST = 12                                    # size that is tried for each symbol
_WITNESSES = 3                                   # sizes without a guard that are tried


def size_of(expression: Any, symbols: Mapping[str, Dim]) -> Dim:
    """Returns a size for an expression of torch's. Raises Error where there is none for it."""
    if expression.is_Integer:
        return int(expression)
    if expression.is_Symbol and str(expression) in symbols:
        return symbols[str(expression)]
    kind = type(expression).__name__
    if expression.is_Pow and expression.exp.is_Integer and 0 < expression.exp < 9:
        kind, arguments = "Mul", [expression.base] * int(expression.exp)
    else:
        arguments = [*expression.args]
    if kind not in _KINDS or not arguments:
        raise Error(f"a size {expression} is not supported")
    total, *parts = (size_of(part, symbols) for part in arguments)
    for part in parts:
        total = _KINDS[kind](total, part)
    return total


def quotient(a: Dim, b: Dim) -> Dim:
    """Returns a / b rounded down. Raises Error for a divisor that is a size and does not cancel."""
    exact = divide(a, b)
    if exact is not None:
        return exact
    if not isinstance(b, int):
        raise Error(f"a size that is divided by the size {b} is not supported")
    return floor_div(a, b)


def remainder(a: Dim, b: Dim) -> Dim:
    """Returns what the division of sizes, rounded down, leaves. Raises Error as it does."""
    return a - quotient(a, b) * b


_KINDS: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "Add": lambda a, b: a + b, "Mul": lambda a, b: a * b,
    "FloorDiv": quotient, "CleanDiv": quotient, "Mod": remainder, "PythonMod": remainder,
}


def bound(given: Any) -> int | None:
    """Returns a bound of a range, or None where there is none: sympy's or torch's infinity."""
    if not getattr(given, "is_Integer", isinstance(given, int)):
        return None
    number = int(given)
    return number if number < 2**62 else None


def ranges(program: Any, symbols: Mapping[str, Dim], agrees: Agrees) -> Iterator[Requirement]:
    """Yields the bounds of each size.

    torch.export takes no size to be 0 or 1, so each range begins at 2. Whether the program also
    holds for 1 is tried.
    """
    found = {str(symbol): interval for symbol, interval in program.range_constraints.items()}
    for key, size in symbols.items():
        interval = found.get(key)
        least, most = (bound(interval.lower), bound(interval.upper)) if interval else (0, None)
        if least == 2 and agrees({key: 1}):
            least = 0
        if least is not None and least > 1:
            yield Requirement(size, ">=", least, Where())
        if most is not None:
            yield Requirement(size, "<=", most, Where())


def guards(program: Any, symbols: Mapping[str, Dim], agrees: Agrees) -> Iterator[Requirement]:
    """Yields what decided the branches of the forward.

    Guards that single sizes break, such as T // 2 != 1, and those that an array is larger than 1,
    such as 10 - T > 1, are often about how memory is laid out, and not about what is computed. They
    are left out where the module and the graph agree without them.
    Raises Error for a guard that is no comparison of sizes, unless it follows from the others.
    """
    environment = _environment(program)          # in which symbols that are equal have become one
    conditions = [environment.replace(guard.expr) for guard in getattr(environment, "guards", ())]
    stated: list[Any] = []
    unsaid: list[Any] = []
    for condition in dict.fromkeys(conditions):
        if condition == True:                    # noqa: E712  sympy's own
            continue
        requirement = _requirement(condition, symbols)
        if requirement is None:
            unsaid.append(condition)
            continue
        if _always_holds(requirement):
            continue
        few = _exceptions(condition, requirement)
        if few is not None and _all_agree(few, agrees):
            if requirement.relation != "!=":
                yield replace(requirement, relation=">=", right=0)
            continue
        stated.append(condition)
        yield requirement
    for condition in unsaid:
        if any(True for _ in _breaking(condition, stated, least=2)):
            raise Error(f"the forward decides by {condition}, which is not supported")


def _environment(program: Any) -> Any:
    """Returns what torch knows of the symbols of a program; None where it has none."""
    for node in program.graph.nodes:
        for dim in getattr(node.meta.get("val"), "shape", ()):
            if not isinstance(dim, int):
                return dim.node.shape_env
    return None


def _requirement(condition: Any, symbols: Mapping[str, Dim]) -> Requirement | None:
    relation = getattr(condition, "rel_op", "")
    if relation not in RELATIONS:
        return None
    try:
        left, right = (size_of(side, symbols) for side in (condition.lhs, condition.rhs))
    except Error:
        return None
    return Requirement(left, relation, right, Where())


def _always_holds(requirement: Requirement) -> bool:
    try:
        return RELATIONS[requirement.relation](requirement.left, requirement.right)
    except Error:                                # it depends on the sizes
        return False


def _exceptions(condition: Any, requirement: Requirement) -> Iterator[dict[str, int]] | None:
    """Returns the sizes that a guard may be about without need; None where it is about more."""
    if requirement.relation == "!=":
        return _breaking(condition, [], least=0)
    if same(requirement.right, {">": 1, ">=": 2}.get(requirement.relation)):
        return _breaking(condition, [condition.lhs >= 0], least=1)
    return None


def _all_agree(sizes: Iterator[dict[str, int]], agrees: Agrees) -> bool:
    tried = [*islice(sizes, _WITNESSES)]
    return bool(tried) and all(map(agrees, tried))


def _breaking(condition: Any, given: list[Any], least: int) -> Iterator[dict[str, int]]:
    """Yields sizes, by symbol, for which the given guards hold and a condition does not.

    Tried are small sizes, and those beside the numbers in the condition.
    """
    names = sorted(condition.free_symbols.union(*(g.free_symbols for g in given)), key=str)
    named = {int(n) + d for n in condition.atoms() if getattr(n, "is_Integer", False)
             for d in (-1, 0, 1)}
    largest = _LARGEST if len(names) < 4 else 4
    numbers = sorted({*range(least, largest), *(n for n in named if least <= n <= 2**20)})
    for sizes in product(numbers, repeat=len(names)):
        at = dict(zip(names, sizes, strict=True))
        try:
            if condition.subs(at) == False and all(g.subs(at) == True for g in given):  # noqa: E712
                yield {str(name): size for name, size in at.items()}
        except ZeroDivisionError:
            continue
