"""How a step sees rows: what it reads and computes of each, as a member of a row group.

Rows are those of a matrix, or they lie side by side (`Rows.columns`). A step may work on whole
rows, an element of its result for each of theirs; on one number for each row; or it is a reduction
of rows to numbers, a function of rows, or the choice of one element of each.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ir.types import Dim, product, same
from nncompile.schedule import geometry
from nncompile.schedule.memory import same_layout
from nncompile.schedule.ops import may_fail
from nncompile.schedule.program import ONE_HOT, PICK, Operand, Step, View
from nncompile.schedule.row_lines import FUNCTIONS, NORMS, REDUCTIONS
from nncompile.schedule.strides import merged

_SHORTEST, _LONGEST = 4, 1 << 13        # elements of a row: what fits in the nearest caches
_MOST_COLUMNS = 32                      # elements of a row whose neighbour lies beside it
# Columns of which there are sums. Of longer rows a kernel that adds several vectors side by side is
# quicker: a unit of this one reads a single vector of each row.
_MOST_BESIDE = 128

_UNKNOWN = "unknown"


class Seen(NamedTuple):
    """How a view is seen by rows: an element for each place along a row, or for each row.

    strides: along the items, which are the rows, and along a row; a stride of 0 is one number.
    """

    view: View
    items: Dim
    along: Dim

    @property
    def is_matrix(self) -> bool:
        """Returns whether it has an element for each element of each row."""
        return not same(self.items, 0) and not same(self.along, 0)

    @property
    def whole(self) -> bool:
        """Returns whether it has elements of its own for each row."""
        return not same(self.items, 0)

    def same_as(self, other: Seen) -> bool:
        """Returns whether both have the same elements at the same places."""
        return (self.view.dtype == other.view.dtype and same(self.view.offset, other.view.offset)
                and same(self.items, other.items) and same(self.along, other.along))


class Rows(NamedTuple):
    """So many rows of so many elements.

    columns:      rows are beside each other, not elements.
    numbers_only: members are reductions, and what is computed of one number a row. That is so where
                  a row is of any length, and where it is a single one: workers share what is
                  computed of its elements.
    """

    number: Dim
    length: Dim
    columns: bool
    numbers_only: bool

    def like(self, other: Rows) -> bool:
        """Returns whether both are the same rows."""
        return (same(self.number, other.number) and same(self.length, other.length)
                and self.columns == other.columns)

    @property
    def shape(self) -> tuple[Dim, Dim]:
        """Returns the shape of a matrix of all elements."""
        return (self.length, self.number) if self.columns else (self.number, self.length)

    def seen(self, view: View, shape: Sequence[Dim], numbers: bool) -> Seen | None:
        """Returns how a step of this shape sees a view; None if a kernel could not read that.

        numbers: whether the step works on one number a row.
        """
        wide = view.broadcast_to(shape)
        if numbers:
            split, inner = len(shape), []
        else:
            split = _split(shape, self.shape[1])
            inner = list(range(split, len(shape)))
        before = merged(wide.shape[:split], wide.strides[:split])
        behind = merged([wide.shape[a] for a in inner], [wide.strides[a] for a in inner])
        if before is None or behind is None:
            return None
        if numbers:
            unit = not self.columns or same(before[1], 1) or same(before[1], 0)
            return Seen(view, before[1], 0) if unit else None
        if not (same(behind[1], 0) or same(behind[1], 1)):
            return None
        items, along = (behind[1], before[1]) if self.columns else (before[1], behind[1])
        return Seen(view, items, along)

    def whole(self, place: View, numbers: bool) -> Seen:
        """Returns how a result is seen, which is contiguous."""
        if numbers:
            return Seen(place, 1, 0)
        return Seen(place, 1, self.number) if self.columns else Seen(place, self.length, 1)

    def is_step_of(self, shape: Sequence[Dim]) -> bool | None:
        """Returns True where a step of this shape works on numbers, False where on rows."""
        if same(product(shape), self.number):
            return True
        outer, inner = self.shape
        split = _split(shape, inner)
        return None if split < 0 or not same(product(shape[:split]), outer) else False

    def strides(self, seen: Seen) -> tuple[Dim, Dim]:
        """Returns the strides of what is seen in a matrix of all elements."""
        return (seen.along, seen.items) if self.columns else (seen.items, seen.along)


def _split(shape: Sequence[Dim], inner: Dim) -> int:
    """The axis from which on there are `inner` elements, or -1."""
    return next((axis for axis in reversed(range(len(shape) + 1))
                 if same(product(shape[axis:]), inner)), -1)


class Form(NamedTuple):
    """What a member is within rows: its line, what it reads, its result, and the chain behind it.
    """

    op: str
    along: bool
    operands: tuple[Seen | float, ...]
    result: Seen
    source: str
    chain: tuple[tuple[str, tuple[Seen | float, ...]], ...] = ()

    @property
    def reads(self) -> Iterator[Seen]:
        """Returns all views that it reads."""
        every = (*self.operands, *(o for _, others in self.chain for o in others))
        return (o for o in every if isinstance(o, Seen))


class Member:
    """A step, or two that fill an array with zeros and add one number to each row of it."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps, step = tuple(steps), steps[-1]
        self.step = step
        self.fails = any(map(may_fail, steps))
        self.written = {view.place for each in steps for view in each.results}
        self.read = {view.place for each in steps for view in each.reads} - (
            self.written if len(steps) > 1 else set())
        self.writes_state = any(place.kind == "input" for place in self.written)
        self.may_join = _form_kind(step) in _FORMS and len(self.written) == 1
        self._forms: list[tuple[Rows, Form | None]] = []

    def rows(self) -> Rows | None:
        """Returns the rows that it works on, if it is one of those that a group is made for."""
        step = self.step
        if self.writes_state or not step.views or step.then:
            return None
        x = step.views[0]
        if step.kind in FUNCTIONS or (step.kind == "reduce" and step.attrs["op"] in REDUCTIONS):
            if len(x.shape) != 2:
                return None
            columns = bool(step.attrs.get("columns"))
            length, count = x.shape if columns else reversed(x.shape)
            return _rows(count, length, columns)
        return None

    def form(self, rows: Rows) -> Form | None:
        """Returns what it is within these rows; None if it does not fit there."""
        found = next((form for known, form in self._forms if known is rows), _UNKNOWN)
        if isinstance(found, str):
            found = self._form(rows)
            self._forms.append((rows, found))
        return found

    def _form(self, rows: Rows) -> Form | None:
        step = self.step
        if not self.may_join or len(step.results) > 1 or not step.result.is_contiguous:
            return None
        form = _FORMS[_form_kind(step)](self, rows)
        if form is None or not step.then:
            return form
        chain = [(op, _all_seen(others, step.result.shape, rows, not form.along))
                 for op, others in step.then]
        known = tuple((op, tuple(seen)) for op, seen in chain if seen is not None)
        return form._replace(chain=known) if len(known) == len(chain) else None


def _form_kind(step: Step) -> str:
    return "function" if step.kind in FUNCTIONS else step.kind


def _rows(count: Dim, length: Dim, columns: bool) -> Rows | None:
    """Rows of which a group can be made, if there are elements to be shared at all."""
    short, most = (2, _MOST_COLUMNS) if columns else (_SHORTEST, _LONGEST)
    many, known = not isinstance(count, int) or count > 1, isinstance(length, int)
    numbers_only = not (many and known and length <= most)
    if (known and length < short) or (columns and numbers_only and not (
            isinstance(count, int) and count <= _MOST_BESIDE)):
        return None
    return Rows(count, length, columns, numbers_only)


def members_of(steps: Sequence[Step]) -> Iterator[Member]:
    """Returns the steps in their order as members, of which two that fill and add are one."""
    number = 0
    while number < len(steps):
        pair = steps[number:number + 2]
        if not (len(pair) == 2 and _is_one_hot(*pair)):
            pair = pair[:1]
        yield Member(pair)
        number += len(pair)


def _is_one_hot(fill: Step, add: Step) -> bool:
    """Whether two steps fill an array with zeros and add one number to each row of it."""
    return (add.kind == "scatter_add" and fill.kind == "elementwise" and not fill.then
            and fill.result.place == add.result.place and same_layout(fill.result, add.result)
            and fill.attrs.get("op") == "copy"
            and fill.operands == (0.0,) and same(add.views[1].shape[add.attrs["axis"]], 1))


def _all_seen(operands: Iterable[Operand], shape: Sequence[Dim], rows: Rows, numbers: bool
              ) -> list[Seen | float] | None:
    found: list[Seen | float] = []
    for operand in operands:
        seen = rows.seen(operand, shape, numbers) if isinstance(operand, View) else operand
        if seen is None:
            return None
        found.append(seen)
    return found


def _elementwise(member: Member, rows: Rows) -> Form | None:
    step = member.step
    numbers = rows.is_step_of(step.result.shape)
    if member.fails or numbers is None:
        return None
    seen = _all_seen(step.operands, step.result.shape, rows, numbers)
    if seen is None:
        return None
    return Form(step.attrs["op"], not numbers, tuple(seen), rows.whole(step.result, numbers),
                 geometry.source_dtype(step))


def _reduction(member: Member, rows: Rows) -> Form | None:
    own, step = member.rows(), member.step
    if own is None or not own.like(rows):
        return None
    x = step.views[0]
    seen = rows.seen(x, x.shape, False)
    return None if seen is None else Form(
        step.attrs["op"], False, (seen,), rows.whole(step.result, True), x.dtype)


def _function(member: Member, rows: Rows) -> Form | None:
    own, step = member.rows(), member.step
    if own is None or not own.like(rows) or (rows.columns and step.kind in NORMS):
        return None
    x, *affine = step.views
    seen = rows.seen(x, x.shape, False)
    further = [rows.seen(view, x.shape, False) for view in affine]
    if seen is None or not seen.is_matrix or None in further:
        return None
    eps = [step.attrs["eps"]] if step.kind in NORMS else []
    scale = [step.attrs["scale"]] if step.attrs.get("scale", 1.0) != 1.0 else []
    return Form(step.kind, True, (seen, *further, *eps, *scale),         # type: ignore[arg-type]
                 rows.whole(step.result, False), x.dtype)


def _pick(member: Member, rows: Rows) -> Form | None:
    (x, ids), axis = member.step.views, member.step.attrs["axis"]
    if not same(ids.shape[axis], 1) or not same(product(ids.shape), rows.number):
        return None
    others = [a for a in range(len(x.shape)) if a != axis]
    if not all(same(x.shape[a], ids.shape[a]) for a in others):
        return None
    x = x.permuted([axis, *others] if rows.columns else [*others, axis])
    if not same(x.shape[0 if rows.columns else -1], rows.length):
        return None
    seen, index = rows.seen(x, x.shape, False), rows.seen(ids, ids.shape, True)
    return None if seen is None or index is None or not seen.is_matrix else Form(
        PICK, False, (seen, index), rows.whole(member.step.result, True), ids.dtype)


def _one_hot(member: Member, rows: Rows) -> Form | None:
    (ids, x), step = member.step.views, member.step
    if len(member.steps) < 2 or rows.columns or step.attrs["axis"] != len(x.shape) - 1 or (
            rows.is_step_of(step.result.shape) is not False
            or not same(step.result.shape[-1], rows.length)):
        return None
    index, value = (rows.seen(view, x.shape, True) for view in (ids, x))
    return None if index is None or value is None else Form(
        ONE_HOT, True, (index, value), rows.whole(step.result, False), ids.dtype)


_FORMS = {"elementwise": _elementwise, "reduce": _reduction, "function": _function,
          "take_along": _pick, "scatter_add": _one_hot}


def one_of(kinds: list[Rows], rows: Rows | None) -> Rows | None:
    """Returns the kind of rows that is like these; it is added where there is none."""
    if rows is None:
        return None
    found = next((kind for kind in kinds if kind.like(rows)), None)
    if found is None:
        kinds.append(rows)
    return found or rows
