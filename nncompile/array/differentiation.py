"""What an Array has for gradients: the methods, which backward.py computes for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from nncompile.array.hooks import RemovableHandle
from nncompile.array.inplace import Inplace
from nncompile.array.tape import Tracked
from nncompile.errors import GradientError

if TYPE_CHECKING:
    from nncompile.array.backward import Step


class Differentiable(Inplace):
    """The methods of Array that have to do with gradients."""

    _hooks: dict[int, Callable[..., Any]] | None = None              # of a leaf
    _hooks_behind: dict[int, Callable[..., Any]] | None = None

    def backward(self, gradient: Any = None, retain_graph: bool | None = None,
                 create_graph: bool = False, inputs: Any = None) -> None:
        """Adds the gradient of this array to the `grad` of each leaf that it was computed from.

        gradient: that of the result with respect to this array, of its shape; it can be left out
        where the array has one element. inputs: leaves or results; only their `grad` is changed.
        retain_graph: whether it can be done again; create_graph: whether the gradients can be
        differentiated, too.
        Raises GradientError where no gradient is kept for this array, where a value that is needed
        was changed in place or given up by an earlier backward, and in a trace.
        """
        from nncompile.array.backward import backward  # only what differentiates needs it

        backward([self], None if gradient is None else [gradient], retain_graph, create_graph,
                 inputs)

    @property
    def grad_fn(self) -> Step | None:
        """The step that goes back from this array to what it was computed from; None for a leaf."""
        payload = self._payload
        if not isinstance(payload, Tracked):
            return None
        from nncompile.array.backward import Step

        return Step(payload)

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Makes every backward call hook(gradient of this array); what it returns replaces it.

        Returns a handle with remove(). Raises GradientError where the array has no gradient.
        """
        if isinstance(payload := self._payload, Tracked):
            return RemovableHandle(payload.hooks, hook)
        if not self.requires_grad:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if self._hooks is None:
            self._hooks = OrderedDict()
        return RemovableHandle(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Makes every backward call hook(this leaf) once its `grad` is complete."""
        if not self.requires_grad or not self.is_leaf:
            raise GradientError("post accumulate grad hooks cannot be registered on non-leaf "
                                "tensors")
        if self._hooks_behind is None:
            self._hooks_behind = OrderedDict()
        return RemovableHandle(self._hooks_behind, hook)

    def retain_grad(self) -> None:
        """Makes a backward set this array's `grad`, though it is not a leaf."""
        payload = self._payload
        if not self.requires_grad:
            raise GradientError("can't retain_grad on Tensor that has requires_grad=False")
        if isinstance(payload, Tracked):
            payload.retained_by = ref(self)

    @property
    def retains_grad(self) -> bool:
        """Whether a backward sets this array's `grad` although it is not a leaf."""
        payload = self._payload
        return isinstance(payload, Tracked) and payload.retained_by is not None
