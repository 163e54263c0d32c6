"""Steps that work on the same rows become one step: a row group.

    h3 [B]     = reduce(h0 [B, 64], h1 [B, 64]) {op = sum}
    h0 [B, 64] = elementwise(h0 [B, 64], h3 [B, 1]) {op = sub}
    -->
    h0 [B, 64] = row_group(h0 [B, 64]) {t0 = sum(r0), t1 = sub(r0, t0), return t1}

Its kernel takes a row through all lines while the row is in the nearest cache. Members are
elementwise steps on whole rows or on one number a row, reductions of rows, softmax and norms, and
what chooses one element of each row by an index, or is its gradient. So a cross entropy and its
gradient are one step, and so is the gradient of a layer norm. It is the same arithmetic in the same
order, whose tree of a sum depends on the length of the row alone.

Rows are those of a matrix whose last axis is reduced; or they lie side by side, where the axis that
is reduced is the first one and short. Steps become one if no step outside has to be between them.

A row must have a known length that fits in the nearest caches, and there must be many rows, which
workers share. Sums of other rows, as that of a loss or the gradient of a bias, are joined with what
is computed of the numbers alone, the update of the bias for instance, and with other sums of as
many rows. All this is done for programs whose steps are shared by all workers, not for those that
take a block of rows through all steps, where rows are in the cache anyway.
"""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate

from ir.types import FLOATS, same
from nncompile.schedule.ops import KINDS
from nncompile.schedule.program import CHECKED, PICK, ElementOp, Group, Operand, Place, Step, View
from nncompile.schedule.row_lines import FUNCTIONS, REDUCTIONS, RowPlan
from nncompile.schedule.row_members import Form, Member, Rows, Seen, members_of, one_of

_MOST_OPS, _MOST_OPERANDS = 64, 32      # lines and operands of a group

_Rank = Callable[["_Joining", "_RowGroup"], Iterator[int]]       # members that may join a group


def group_rows(steps: Sequence[Step]) -> list[Step]:
    """Returns the steps, of which those that work on the same rows are one."""
    members = list(members_of(steps))
    joining = _Joining(members)
    joining.join_all()
    if not any(len(group.members) > 1 for group in joining.groups):
        return list(steps)
    uses = Counter(place for member in members for place in member.written | member.read)
    made = {id(group): _made(group, uses) for group in joining.groups}
    return [step for place in joining.in_order() for step in made.get(id(place)) or (
        [step for member in place.members for step in member.steps])]


# -- which of them become one ----------------------------------------------------------------------

class _RowGroup:
    """Members that may be one step, each with its form; `rows` is None where it is another step.

    flow:    places that members write, or read from memory as whole rows or numbers of rows.
    numbers: the numbers of its members, as bits.
    """

    def __init__(self, number: int, member: Member, rows: Rows | None) -> None:
        self.members, self.rows = [member], rows
        self.order = [number]
        self.numbers = 1 << number
        form = member.form(rows) if rows else None
        self.forms = [form] if form else []
        self.dtypes = _row_dtypes(self.forms)

    def take(self, other: _RowGroup, forms: Sequence[Form]) -> None:
        """Adds the members of another one, which have these forms here."""
        joined = sorted(zip((*self.order, *other.order), (*self.members, *other.members),
                            (*self.forms, *forms), strict=True), key=lambda each: each[0])
        self.order, self.members, self.forms = ([*each] for each in zip(*joined, strict=True))
        self.numbers |= other.numbers
        self.dtypes = _row_dtypes(self.forms)


def _row_dtypes(forms: Iterable[Form]) -> set[str]:
    """The dtypes of floats that lines fold: the sums of one dtype have a tree of its own."""
    return {d for form in forms if form.op in REDUCTIONS | {*FUNCTIONS}
            for d in (form.result.view.dtype,) if d in FLOATS}


class _Joining:
    """All steps, each alone at first, and which of them have to be before which.

    before, behind: for each member those that have to be before it, and behind it, as bits. Members
    of a group have the same.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._direct = _dependencies(members)
        self._before = [0] * len(members)
        self._behind = [0] * len(members)
        for number, own in enumerate(self._direct):
            for other in own:
                self._before[number] |= self._before[other] | 1 << other
        for number in reversed(range(len(members))):
            for other in self._direct[number]:
                self._behind[other] |= self._behind[number] | 1 << number
        self._writers: dict[Place, list[int]] = defaultdict(list)
        self._readers: dict[Place, list[int]] = defaultdict(list)
        for number, member in enumerate(members):
            for place in member.written:
                self._writers[place].append(number)
            for place in member.read:
                self._readers[place].append(number)
        self._products = [*accumulate(KINDS[member.step.kind].product for member in members)]
        kinds: list[Rows] = []                          # each once, so that forms are found again
        self.places = [_RowGroup(i, m, one_of(kinds, m.rows())) for i, m in enumerate(members)]

    @property
    def groups(self) -> list[_RowGroup]:
        """All that are rows, of one member or more."""
        return list({id(g): g for g in self.places if g.forms}.values())

    def join_all(self) -> None:
        """Joins first what reads or writes whole rows of a group, then its numbers, then others.

        A number may have to be known before the group for another one that the group reads; so
        those that move least memory come later. What shares nothing but an operand comes last, and
        only if there is no product between: what it computes would have to be kept meanwhile.
        """
        for rank in (_flowing, _numbers, _sharing, _alike):
            for place in self.groups:
                while self._extended(place, rank):
                    pass

    def _extended(self, group: _RowGroup, rank: _Rank) -> bool:
        """Joins to a group who can of those that the rank finds; returns whether there were any."""
        if self.places[group.order[0]] is not group:
            return False                                     # it has become part of another one
        joined = [self.places[number] is not group and self._join(group, self.places[number])
                  for number in sorted(set(rank(self, group)))]
        return any(joined)

    def _join(self, group: _RowGroup, other: _RowGroup) -> bool:
        rows = group.rows
        assert rows is not None
        if not (all(member.may_join for member in other.members)
                and self._may_be_one(group, other)):
            return False
        forms = [member.form(rows) for member in other.members]
        found = [form for form in forms if form is not None]
        if len(found) < len(forms) or not self._fits(group, other, found) or (
                any(form.along for form in found) and (rows.numbers_only or any(
                    member.writes_state for member in other.members))):
            return False
        group.take(other, found)
        for number in other.order:
            self.places[number] = group
        self._note(group)
        return True

    def _may_be_one(self, group: _RowGroup, other: _RowGroup) -> bool:
        """Whether no step outside is behind one of them and before the other."""
        a, b = group.order[0], other.order[0]
        between = self._behind[a] & self._before[b] | self._behind[b] & self._before[a]
        return not between & ~(group.numbers | other.numbers)

    def _fits(self, group: _RowGroup, other: _RowGroup, forms: Sequence[Form]) -> bool:
        """Whether a kernel can compute all that the group does, and these forms."""
        every, members = [*group.forms, *forms], [*group.members, *other.members]
        if any(m.fails for m in members) and any(m.writes_state for m in members):
            return False                         # nothing is written after a wrong number
        results = {form.result.view.place: form.result for form in every}
        if (len(group.dtypes | _row_dtypes(forms)) > 1
                or any(len(self._writers[form.result.view.place]) > 1 for form in forms)
                or sum(1 + len(form.chain) for form in every) > _MOST_OPS):
            return False
        outside = set()
        for form in every:
            for seen in form.reads:
                result = results.get(seen.view.place)
                if result is None:
                    outside.add((seen.view.place, seen.view.offset))
                elif not seen.same_as(result):
                    return False
        return len(outside) <= _MOST_OPERANDS

    def _note(self, group: _RowGroup) -> None:
        """Notes what is before and behind a group, which has become larger."""
        before = behind = 0
        for number in group.order:
            before, behind = before | self._before[number], behind | self._behind[number]
        before, behind = before & ~group.numbers, behind & ~group.numbers
        for number in group.order:
            self._before[number], self._behind[number] = before, behind
        ahead, after = before | group.numbers, behind | group.numbers
        for number in _bits(behind):
            self._before[number] |= ahead
        for number in _bits(before):
            self._behind[number] |= after

    def in_order(self) -> list[_RowGroup]:
        """All groups and steps in an order that keeps those before that have to be."""
        places = {id(place): place for place in self.places}
        missing = {key: {id(self.places[other]) for number in place.order
                         for other in self._direct[number]} - {key}
                   for key, place in places.items()}
        waiting: dict[int, list[int]] = defaultdict(list)
        for key, others in missing.items():
            for other in others:
                waiting[other].append(key)
        ready = [(place.order[0], key) for key, place in places.items() if not missing[key]]
        heapify(ready)
        found = []
        while ready:
            _, key = heappop(ready)
            found.append(places[key])
            for other in waiting[key]:
                missing[other].discard(key)
                if not missing[other]:
                    heappush(ready, (places[other].order[0], other))
        assert len(found) == len(places)
        return found

    # -- who may join: numbers of members -----------------------------------------------------

    def connected(self, group: _RowGroup) -> Iterator[int]:
        """Members that write what the group reads as rows, or that read what it writes."""
        for form in group.forms:
            yield from self._readers[form.result.view.place]
            for seen in form.reads:
                if seen.whole:
                    yield from self._writers[seen.view.place]

    def beside(self, group: _RowGroup) -> Iterator[int]:
        """Members that read whole rows that the group reads, too, and no product is between."""
        parts = {self._products[number] for number in group.order}
        for form in group.forms:
            for seen in form.reads:
                if seen.is_matrix:
                    yield from (number for number in self._readers[seen.view.place]
                                if self._products[number] in parts)

    def sums(self, group: _RowGroup) -> Iterator[int]:
        """Members that are sums of rows that are like those of a group; no product is between."""
        parts = {self._products[number] for number in group.order
                 if self.members[number].step.kind == "reduce"}
        return (number for number, place in enumerate(self.places)
                if place.rows is group.rows and place.forms and self._products[number] in parts)


def _flowing(joining: _Joining, group: _RowGroup) -> Iterator[int]:
    assert group.rows is not None
    if group.rows.numbers_only:
        return
    for number in joining.connected(group):
        place = joining.places[number]
        step = joining.members[number].step
        if place.forms or step.kind in ("take_along", "scatter_add") or (
                group.rows.is_step_of(step.result.shape) is False):
            yield number


def _numbers(joining: _Joining, group: _RowGroup) -> Iterator[int]:
    return joining.connected(group)


def _sharing(joining: _Joining, group: _RowGroup) -> Iterator[int]:
    assert group.rows is not None
    return iter(()) if group.rows.numbers_only else joining.beside(group)


def _alike(joining: _Joining, group: _RowGroup) -> Iterator[int]:
    """Other sums of as many rows: each worker has a part of all of them."""
    assert group.rows is not None
    return joining.sums(group) if group.rows.numbers_only else iter(())


def _dependencies(members: Sequence[Member]) -> list[set[int]]:
    """For each member those before it that it has to stay behind.

    What writes a state stays behind all that may find a wrong number: see states.py.
    """
    found: list[set[int]] = []
    writers: dict[Place, list[int]] = defaultdict(list)
    readers: dict[Place, list[int]] = defaultdict(list)
    fails: list[int] = []
    for number, member in enumerate(members):
        own = {other for place in member.read for other in writers[place]}
        own |= {other for place in member.written
                for other in (*writers[place], *readers[place])}
        found.append(own | set(fails) if member.writes_state else own)
        for place in member.written:
            writers[place].append(number)
        for place in member.read:
            readers[place].append(number)
        if member.fails:
            fails.append(number)
    for number, own in enumerate(found):
        own.discard(number)
    return found


def _bits(number: int) -> Iterator[int]:
    """The places of the bits of a number that are set."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


# -- the step that they become ---------------------------------------------------------------------

def _made(group: _RowGroup, uses: Counter[Place]) -> list[Step] | None:
    """The group as a step; None where it is a single member, or cannot be one."""
    rows = group.rows
    if len(group.members) < 2 or rows is None:
        return None
    lines = _Lines(rows)
    for member, form in zip(group.members, group.forms, strict=True):
        lines.add(member, form)
    own = Counter(place for member in group.members for place in member.written | member.read)
    kept = {form.result.view.place: form for form in group.forms}
    needed = {lines.computed[place] for place in kept
              if uses[place] > own[place] or place.kind != "buffer"}
    by_line = {lines.computed[place]: form for place, form in kept.items()}
    needed |= {i for i in by_line if lines.ops[i].op == "softmax"}
    while True:
        plan = RowPlan(lines.ops, sorted(needed), rows.columns)
        more = plan.computed_again() & by_line.keys() - needed
        if not more:
            break
        needed |= more
    last = plan.stored_last()
    first = next((i for i in (*last, *sorted(needed)) if i in last or not lines.ops[i].along), None)
    if first is None:
        return None
    outputs = (first, *sorted(needed - {first}))
    results = [by_line[i].result for i in outputs]
    makers = {member.step.result.place: member.step.node for member in group.members}
    made = Group(tuple(lines.ops), outputs, tuple(makers.values()),
                 tuple(makers[by_line[i].result.view.place] for i in outputs))
    views = [_result_view(rows, seen) for seen in results]
    attrs = {"group": made} | ({"columns": True} if rows.columns else {})
    return [Step("row_group", views[0], tuple(lines.operands), attrs, (), made.made[0],
                 also=tuple(views[1:]))]


def _result_view(rows: Rows, seen: Seen) -> View:
    """A result of a group as a view: a matrix, or one number for each row."""
    if same(seen.along, 0):
        return seen.view.laid_out((rows.number,), (1,))
    return seen.view.laid_out(rows.shape, rows.strides(seen))


class _Lines:
    """The lines of a group, its operands, and which line has computed the value of a place."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.ops: list[ElementOp] = []
        self.operands: list[Operand] = []
        self.computed: dict[Place, int] = {}
        self._names: dict[tuple[object, ...], str] = {}

    def add(self, member: Member, form: Form) -> None:
        dtype = member.step.result.dtype
        self.ops.append(ElementOp(
            form.op, tuple(self._name(o, d) for o, d in zip(
                form.operands, _operand_dtypes(form, dtype), strict=True)),
            form.source, dtype, form.along))
        for op, others in form.chain:
            value = f"t{len(self.ops) - 1}"
            names = [self._name(o, dtype) for o in others]
            self.ops.append(ElementOp(op, (value, *names), dtype, dtype, form.along))
        self.computed[form.result.view.place] = len(self.ops) - 1

    def _name(self, operand: Seen | float, dtype: str) -> str:
        """The line that has computed an operand, or the operand of the group that it becomes."""
        key: tuple[object, ...] = repr(operand), dtype
        value: Operand
        if isinstance(operand, Seen):
            view = operand.view
            if view.place in self.computed:
                return f"t{self.computed[view.place]}"
            value = view.laid_out(self._rows.shape, self._rows.strides(operand))
            key = value.place, value.dtype, value.strides, value.offset
        else:
            value = operand
        if key not in self._names:
            self._names[key] = f"r{len(self.operands)}"
            self.operands.append(value)
        return self._names[key]


def _operand_dtypes(form: Form, dtype: str) -> list[str]:
    """The dtype of each operand of a form's line; an index is in the place where its line has it.
    """
    if form.op == "where":
        return ["bool", dtype, dtype]
    if form.op in CHECKED:
        return [dtype, form.source] if form.op == PICK else [form.source, dtype]
    return [form.source] * len(form.operands)
