"""The arguments of a call, from whatever a caller gave to what a loaded program takes.

A loaded program's call takes arrays that it can use where they are, and leaves the rest to a
fallback. Here is what that needs, the same for all targets and call paths: names become positions,
nested values lists of arrays, and whatever holds the right numbers an array of the input's dtype.
"""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np

import ir
from ir.types import DTYPES, Dim, NDArray, TensorType, bind_sizes, evaluate_dim, symbol_name
from nncompile.backend import CallSpec, Shape, too_many_inputs
from nncompile.conversion import cast, floats, is_masked, numbers, rounded
from nncompile.errors import InputError
from nncompile.structure import Nesting

_MOST_WORK: Any = 10_000         # steps of a search for a common element; more: there may be one
_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")

_call: Callable[..., Any] = operator.call
KEYWORDS = "keywords"            # the argument of a call that holds more arguments of the forward


class Arguments:
    """The arguments that a model takes.

    nesting: how the arrays are nested in the forward's arguments and result; None where the
    arguments are the arrays. options: the names of what a call takes beside them.
    """

    def __init__(self, spec: CallSpec, nesting: Nesting | None, options: Collection[str],
                 who: Callable[[], str]) -> None:
        self.spec, self._nesting, self._options, self._who = spec, nesting, options, who
        self._count = len(spec.inputs)
        if nesting is not None:
            self._read = nesting.inputs.reader()
        self._converters = [_Input(name, type_).converter()
                            for name, type_ in zip(spec.names, spec.inputs, strict=True)]

    def split(self, keywords: Mapping[str, Any]) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Returns the arguments of the forward that were given by name, `out`, and the options.

        Raises InputError where keywords= is not a dict, or has an argument that was given, too.
        """
        if not keywords:                                       # as below, quickly
            return {}, None, {}
        if len(keywords) == 1 and "out" in keywords:
            return {}, keywords["out"], {}
        own, options = dict(keywords), {}
        for name in self._options:
            if name in own:
                options[name] = own.pop(name)
        out, more = own.pop("out", None), own.pop(KEYWORDS, None)
        if more is not None:
            if not isinstance(more, Mapping):
                raise InputError(f"{KEYWORDS}= is a dict of arguments, not {type(more).__name__}")
            if twice := own.keys() & more.keys():
                raise InputError(f"the argument {min(twice)!r} was given by name and in "
                                 f"{KEYWORDS}=")
            own.update(more)
        return own, out, options

    def arranged(self, args: Sequence[Any], keywords: Mapping[str, Any]
                 ) -> tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]:
        """Returns what was given for each input and each output, and the options.

        The arguments are the arrays: those of a model that nests them are in order already.
        Raises InputError for arguments that are missing, unexpected or too many.
        """
        if len(args) == self._count:                           # as below, quickly
            if not keywords:
                return args, (), keywords
            if len(keywords) == 1 and "out" in keywords:
                return args, self._outputs_in_order(keywords["out"]), {}
        named, out, options = self.split(keywords)
        return self._in_order(args, named), self._outputs_in_order(out), options

    def inputs(self, args: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
        """Returns what was given for each of the graph's inputs.

        Raises InputError for arguments that are missing, unexpected or nested in another way.
        """
        if self._nesting is None:
            return self._in_order(args, named)
        try:
            return self._read(args, named)
        except InputError as error:
            names, most = self._nesting.inputs.names, self._nesting.inputs.positional
            if len(args) > most:
                raise too_many_inputs(self._who(), most, len(args), names[most:]) from None
            left = [name for name in names[len(args):] if name not in named]
            raise InputError(str(error) + self._hint(left)) from None

    def _in_order(self, args: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
        """`inputs` of a model that does not nest them."""
        if not named and len(args) == len(self.spec.names):
            return args
        given, names = list(args), self.spec.names
        if len(given) > len(names):
            raise too_many_inputs(self._who(), len(names), len(given))
        if wrong := named.keys() - set(names[len(args):]):
            name = min(wrong, key=str)
            raise InputError(f"{self._who()} was given {name!r} twice" if name in names else
                             f"{self._who()} got an unexpected argument {name!r}; there are "
                             f"{', '.join((*names, 'out', *self._options))}")
        given += (named[name] for name in names[len(args):] if name in named)
        if len(given) < len(names):
            missing = [name for name in names[len(args):] if name not in named]
            raise InputError(
                f"{self._who()} takes {len(names)} input{'s' * (len(names) != 1)}, got "
                f"{len(given)}: {missing[0]!r} is missing{self._hint(missing)}")
        return given

    def outputs(self, out: Any) -> Sequence[Any]:
        """Returns what was given as `out` for each of the graph's outputs; none of None.

        Raises InputError where it is nested in another way than the outputs.
        """
        if out is not None and self._nesting is not None:
            return self._nesting.outputs.flatten(out, "out")
        return self._outputs_in_order(out)

    def _outputs_in_order(self, out: Any) -> Sequence[Any]:
        """`outputs` of a model that does not nest them."""
        if out is None:
            return []
        if isinstance(out, np.ndarray) and len(self.spec.outputs) == 1:
            return (out,)
        outs = list(out) if isinstance(out, tuple | list) else [out]
        if len(outs) != (count := len(self.spec.outputs)):
            many = f"a tuple of {count} arrays" if count > 1 else "an array"
            raise InputError(f"out must be {many}, not {_described(out)}")
        return outs

    def arrays(self, inputs: Sequence[Any]) -> list[NDArray]:
        """Returns plain arrays of the inputs' dtypes: those that were given, where they are plain.

        Raises InputError for what does not cast to its dtype without loss.
        """
        if self._count == 1:                                   # as below, quickly
            return [self._converters[0](*inputs)]
        return list(map(_call, self._converters, inputs))

    def size_reader(self, dims: Sequence[Dim]) -> Callable[[Sequence[Any]], list[int]]:
        """Returns a function of a legal call's inputs that evaluates sizes."""
        places: dict[str, tuple[int, int]] = {}
        for i, type_ in enumerate(self.spec.inputs):
            for axis, dim in enumerate(type_.shape):
                if (name := symbol_name(dim)) is not None:
                    places.setdefault(name, (i, axis))

        def read(inputs: Sequence[Any]) -> list[int]:
            sizes = {name: int(np.shape(inputs[i])[axis]) for name, (i, axis) in places.items()}
            return [evaluate_dim(dim, sizes) for dim in dims]
        return read

    def sizes(self, arrays: Sequence[NDArray]) -> dict[str, int]:
        """Returns the named sizes of a call with these arrays.

        Raises InputError where their shapes do not fit, or no call can have these sizes.
        """
        try:
            sizes = bind_sizes(self.spec.inputs, arrays)
        except ir.Error as error:
            raise InputError(f"{self._who()}: {error}") from None
        self.spec.check_sizes(sizes, self._who())
        return sizes

    def check_outputs(self, arrays: Sequence[NDArray], outs: Sequence[Any],
                      shapes: Sequence[Shape] | None = None) -> None:
        """Raises InputError unless the results of a call with these arrays can be copied to `outs`.

        shapes: the results'; None: not known yet, and not compared.
        """
        if not all(map(_is_writeable, outs, self.spec.outputs)):
            raise self._refused_outputs(arrays, outs)
        if any(_overlap(one, other) for one, other in combinations(outs, 2)):
            raise self._refused_outputs(arrays, outs, "arrays that share memory")
        if shapes is not None and any(map(operator.ne, shapes, (out.shape for out in outs))):
            raise self._refused_outputs(arrays, outs)

    def _refused_outputs(self, arrays: Sequence[NDArray], outs: Sequence[Any], what: str = ""
                         ) -> InputError:
        """The error for outputs that do not fit; or that of the inputs' sizes, if they do not."""
        shapes = self.spec.shapes(self.sizes(arrays))
        wanted = zip(self.spec.output_dtypes, shapes, strict=True)
        return InputError(
            "out must be " + " and ".join(f"a writeable {dtype} array of shape {shape}"
                                          for dtype, shape in wanted)
            + f", not {what or ' and '.join(map(_described, outs))}")

    def _hint(self, missing: Sequence[str]) -> str:
        """What to do about a missing argument that is named like an option."""
        for name in missing:
            if name in (*self._options, "out", KEYWORDS):
                return (f"\n  do: {name}= is an option of the call, so give the model's own by "
                        f"position, or as {KEYWORDS}={{{name!r}: ...}}")
        return ""


@functools.cache                                      # a training step has many inputs
def _convertible(dtype: np.dtype[Any]) -> tuple[frozenset[np.dtype[Any]], ...]:
    """Returns the dtypes whose arrays become arrays of this one without loss.

    And those of Python's numbers, as NumPy reads them, that do: all of them for a float dtype.
    """
    known = [each.newbyteorder(order) for order in _ORDERS
             for each in map(np.dtype, np.typecodes["All"]) if each.kind in "biuf"]
    safe = frozenset(d for d in known if np.can_cast(d, dtype))
    return safe, frozenset(known) if dtype.kind == "f" else safe


class _Input:
    """Converts what was given for one input."""

    def __init__(self, name: str, type_: TensorType) -> None:
        self._name, self._type, self._dtype = name, type_, DTYPES[type_.dtype]
        self._safe, self._rounded = _convertible(self._dtype)

    def converter(self) -> Callable[[Any], NDArray]:
        """Returns a function that makes a plain array of the dtype: `given` itself if it is one.

        It is a closure, and asks first for what is most likely, as every call runs through it that
        has an input to be copied.
        """
        of_floats = self._dtype.kind == "f"
        dtype, ndarray, safe, known = self._dtype, np.ndarray, self._safe, self._rounded

        def convert(given: Any) -> NDArray:
            array: NDArray = given
            own = True
            if type(given) is not ndarray:
                if type(given) is list and of_floats and (
                        listed := floats(given, dtype)) is not None:
                    return listed
                try:
                    array, own = numbers(given)
                except InputError as error:
                    raise self._no_array(error) from None
            found = array.dtype
            if found is dtype:
                plain = array.astype(dtype, "C", "unsafe", True, False)
            else:
                if found not in (safe if own else known):
                    array = self._cast(array, own)
                plain = rounded(array, dtype, "C")
            return plain.copy() if plain is array and not plain.flags.aligned else plain
        return convert

    def _no_array(self, error: InputError) -> InputError:
        return InputError(f"input {self._name!r} is {self._type}, and no array can be made of what "
                          f"was given: {error}")

    def _cast(self, array: NDArray, own: bool) -> NDArray:
        try:
            return cast(array, self._dtype, "safe" if own else "value")
        except InputError as error:
            hint = (f": pass {self._name}.astype(numpy.{self._dtype})"
                    if own and array.dtype.kind in "biuf" else "")
            raise InputError(f"input {self._name!r} is {self._type}, it was given {error}{hint}"
                             ) from None


def _is_writeable(out: Any, type_: TensorType) -> bool:
    return (isinstance(out, np.ndarray) and not is_masked(out)
            and out.flags.writeable and out.dtype == DTYPES[type_.dtype]
            and out.ndim == type_.ndim and not _overlaps_itself(out))


def _overlaps_itself(array: NDArray) -> bool:
    """Returns whether two elements may lie in the same place: each has to be written once."""
    extent = array.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True)
                               if n > 1):
        if stride < extent and array.size:
            return True
        extent += stride * (size - 1)
    return False


def _overlap(one: NDArray, other: NDArray) -> bool:
    try:
        return np.shares_memory(one, other, max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def _described(given: Any) -> str:
    if isinstance(given, tuple | list):
        return f"{type(given).__name__} of {len(given)}"
    if not isinstance(given, np.ndarray):
        return f"a {type(given).__name__}"
    notes = [note for note, holds in (
        ("masked", is_masked(given)),
        ("read-only", not given.flags.writeable),
        ("elements share memory", _overlaps_itself(given))) if holds]
    return f"{given.dtype} {given.shape}" + f" ({', '.join(notes)})" * bool(notes)
