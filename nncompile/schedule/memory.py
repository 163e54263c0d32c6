"""Plans scratch memory: which buffers share memory.

A step that can work in place overwrites an operand that is not read again; buffers that are not
alive at the same time share a slot.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.records import dataclass, replace
from ir.types import Dim, DimExpr, TensorType, same
from nncompile.schedule.ops import overwritable
from nncompile.schedule.program import Operand, Place, Step, View, scratch_size


def plan_memory(steps: Sequence[Step], buffers: Mapping[Place, TensorType]
                ) -> tuple[tuple[Step, ...], dict[Place, Dim]]:
    """Returns the steps with each buffer replaced by its slot, and the sizes of the slots."""
    sizes = {name: scratch_size(type_) for name, type_ in buffers.items()}
    steps = _share_in_place(steps, sizes)
    slots = _assign_slots(_lifetimes(steps), sizes)
    places = [Place("slot", i) for i in range(len(slots))]
    instead = {buffer: place for place, slot in zip(places, slots, strict=True)
               for buffer in slot.buffers}
    return (in_other_places(steps, instead),
            {place: slot.size for place, slot in zip(places, slots, strict=True)})


def _share_in_place(steps: Sequence[Step], sizes: Mapping[Place, Dim]) -> tuple[Step, ...]:
    """Gives an operand the place of the result that may overwrite it, from the last step back.

    So a chain of such steps works in the place that its last one writes to, an output for example.
    """
    current, lives = list(steps), _lifetimes(steps)
    for number in reversed(range(len(current))):
        step = current[number]
        operands = overwritable(step)
        if lives[step.result.place].first != number:
            continue
        for view in operands:
            if (view.place in sizes and lives[view.place].last == number
                    and sum(v.place == view.place for v in step.reads) == 1
                    and _covers(view, sizes[view.place]) and same_layout(view, step.result)):
                life = slice(lives[view.place].first, number + 1)
                current[life] = in_other_places(current[life], {view.place: step.result.place})
                lives[step.result.place] = _Life(life.start, lives[step.result.place].last)
                break
    return tuple(current)


def _covers(view: View, size: Dim) -> bool:
    whole = scratch_size(TensorType(view.dtype, view.shape))
    return view.is_contiguous and same(view.offset, 0) and same(whole, size)


def same_layout(a: View, b: View) -> bool:
    """Returns whether two views have their elements at the same offsets in their places."""
    return (a.dtype == b.dtype and same(a.shape, b.shape) and same(a.strides, b.strides)
            and same(a.offset, b.offset))


@dataclass(frozen=True)
class _Life:
    """The steps between which a place holds a value."""

    first: int                                           # the step that writes it first; of an
                                                         # input -1, also where it is a state
    last: int                                            # the last that reads or writes it


def _lifetimes(steps: Sequence[Step]) -> dict[Place, _Life]:
    first: dict[Place, int] = {}
    last: dict[Place, int] = {}
    for number, step in enumerate(steps):
        for view in (*step.results, *step.reads):
            first.setdefault(view.place, -1 if view.place.kind == "input" else number)
            last[view.place] = number
    return {place: _Life(number, last[place]) for place, number in first.items()}


@dataclass
class _Slot:
    """Memory that buffers use one after the other."""

    size: Dim
    free_after: int
    buffers: list[Place]


def _assign_slots(lives: Mapping[Place, _Life], sizes: Mapping[Place, Dim]) -> list[_Slot]:
    """First fit, in the order in which buffers are written; a slot grows to its largest buffer."""
    slots: list[_Slot] = []
    for place in sorted((p for p in lives if p in sizes), key=lambda p: lives[p].first):
        for slot in slots:
            if slot.free_after >= lives[place].first:
                continue
            if (size := larger(slot.size, sizes[place])) is not None:
                slot.size = size
                break
        else:
            slot = _Slot(sizes[place], -1, [])
            slots.append(slot)
        slot.free_after = lives[place].last
        slot.buffers.append(place)
    return slots


def larger(a: Dim, b: Dim) -> Dim | None:
    """Returns the size that is never less than the other one, or None if it depends on named sizes.
    """
    if same(a, b):
        return a
    difference = a - b
    parts = [c for _, c in difference.terms] if isinstance(difference, DimExpr) else [difference]
    return a if min(parts) >= 0 else b if max(parts) <= 0 else None


def in_other_places(steps: Sequence[Step], instead: Mapping[Place, Place]) -> tuple[Step, ...]:
    """Returns the steps with some places exchanged for others."""
    def in_place_of(view: View) -> View:
        return view.moved(instead[view.place]) if view.place in instead else view

    def move(operand: Operand) -> Operand:
        return in_place_of(operand) if isinstance(operand, View) else operand

    def step_moved(step: Step) -> Step:
        if not any(view.place in instead for view in (*step.results, *step.reads)):
            return step
        return replace(
            step, result=in_place_of(step.result), also=tuple(map(in_place_of, step.also)),
            operands=tuple(map(move, step.operands)),
            then=tuple((op, tuple(map(move, others))) for op, others in step.then))

    return tuple(map(step_moved, steps))
