"""numba's compiler, restricted to what generated source and the runtime need.

That is int64, bool and addresses, the operators on them, `range`, and primitives. numba's own CPU
target knows all of Python and NumPy: it takes 0.4 s to load, this one 0.06 s, and it takes half as
long again for each function. Importing this module imports numba.
"""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numba.cpython.numbers
import numba.cpython.rangeobj  # noqa: F401  how `range` and numbers are lowered
from numba.core import (
    codegen,
    compiler,
    cpu,
    interpreter,
    ir,
    transforms,
    typed_passes,
    types,
    untyped_passes,
)
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.imputils import Registry
from numba.core.typing import builtins, context, templates
from numba.core.typing.templates import signature

from nncompile.cpu.objects.primitives import POINTER, Primitive
from nncompile.cpu.vector import retyped

_INT, _TRUTH, _ADDRESS = types.int64, types.boolean, types.voidptr
_KINDS = {"p": _ADDRESS, "i": _INT, "c": _INT, "n": types.void}
_RANGE = types.range_state64_type

_TYPINGS = templates.Registry()               # how calls are typed, which numba keeps apart
_LOWERINGS = Registry("nncompile")            # how they are lowered


def _declare(function: Any, *signatures: Any) -> None:
    """Declares the types of calls of the function."""
    typing = type(function.__name__, (templates.ConcreteTemplate,),
                  {"key": function, "cases": list(signatures)})
    _TYPINGS.register(typing)
    _TYPINGS.register_global(function, types.Function(typing))


for name in ("add", "sub", "mul", "floordiv", "mod", "and_", "or_", "xor", "lshift", "rshift"):
    _declare(getattr(operator, name), signature(_INT, _INT, _INT))
    _declare(getattr(operator, "i" + name.rstrip("_")), signature(_INT, _INT, _INT))     # x += y
for name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _declare(getattr(operator, name), signature(_TRUTH, _INT, _INT))
for name in ("neg", "invert"):
    _declare(getattr(operator, name), signature(_INT, _INT))
_declare(operator.not_, signature(_TRUTH, _TRUTH), signature(_TRUTH, _INT))
_declare(bool, signature(_TRUTH, _TRUTH), signature(_TRUTH, _INT))
_declare(range, *(signature(_RANGE, *[_INT] * count) for count in (1, 2, 3)))
for step in (builtins.GetIter, builtins.IterNext, builtins.PairFirst, builtins.PairSecond):
    _TYPINGS.register(step)                   # a loop over a range


def declare_primitive(primitive: Primitive) -> Callable[..., None]:
    """Returns a function that numba takes for the primitive."""
    def stands_for() -> None:
        raise NotImplementedError

    def emit(context: Any, builder: Any, called: Any, values: Sequence[Any]) -> Any:
        values = [context.cast(builder, *three)
                  for three in zip(values, called.args, wanted.args, strict=True)]
        value = primitive.emit(builder, [
            retyped(v, POINTER) if letter == "p" else v
            for v, letter in zip(values, primitive.arguments, strict=True)])
        if primitive.result == "p":
            return retyped(value, context.get_value_type(_ADDRESS))
        return context.get_dummy_value() if primitive.result == "n" else value

    wanted = signature(_KINDS[primitive.result], *(_KINDS[a] for a in primitive.arguments))
    stands_for.__name__ = primitive.name
    _declare(stands_for, wanted)
    _LOWERINGS.lower(stands_for, *wanted.args)(emit)
    return stands_for


class _TypingContext(context.BaseContext):
    def _load_builtins(self) -> None:
        pass

    def load_additional_registries(self) -> None:
        self.install_registry(_TYPINGS)

    def resolve_value_type(self, val: Any) -> Any:
        """Looks at what is declared here before numba looks at what else the value could be.

        To learn that `bool` is no typed list, it imports these, which takes longer than to compile
        a small driver.
        """
        return self._get_global_type(val) or super().resolve_value_type(val)


class _Library(codegen.JITCodeLibrary):
    """Has numba write all functions into one module, which is all that is wanted of it."""

    module: ClassVar[Any] = None

    def create_ir_module(self, name: str) -> Any:
        return self.module

    def add_ir_module(self, module: Any) -> None:
        pass


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library


class _TargetContext(cpu.CPUContext):
    def init(self) -> None:
        super().init()
        self._internal_codegen = _Codegen("nncompile")

    def load_additional_registries(self) -> None:
        self.install_registry(_LOWERINGS)

    def post_lowering(self, module: Any, library: Any) -> None:
        pass                                  # numba's would link its runtime of arrays, strings

    @functools.cache  # noqa: B019  there is one context, and it stays
    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """Looks up once how a call is lowered; numba inspects the signature of what does it."""
        return super().get_function(fn, sig, _firstcall)

    def get_abi_sizeof(self, ty: Any) -> int:
        return 8                              # for debuggers alone: numba would ask LLVM


class _Interpreter(interpreter.Interpreter):
    def post_process(self, peepholes: Any, func_ir: Any) -> Any:
        """Leaves out what looks for `with` in each statement, which takes longest."""
        without = [p for p in peepholes if p is not interpreter.peep_hole_delete_with_exit]
        return super().post_process(without, func_ir)


def _without_tuples(statements: Iterable[Any]) -> Iterator[Any]:
    """Yields the statements of a block without tuples, whose elements calls take as arguments.

    Python makes a list of more than 30 arguments, and a tuple of that, element by element.
    """
    made: dict[str, list[Any]] = {}               # the elements of each tuple
    for statement in statements:
        value: Any = statement.value if isinstance(statement, ir.Assign) else None
        match getattr(value, "op", None):
            case "build_tuple":
                made[statement.target.name] = list(value.items)
                continue
            case "binop" if value.lhs.name in made:
                made[statement.target.name] = made[value.lhs.name] + made[value.rhs.name]
                continue
            case "call" if value.vararg is not None and value.vararg.name in made:
                value.args, value.vararg = (*value.args, *made[value.vararg.name]), None
            case None if isinstance(value, ir.Var) and value.name in made:
                made[statement.target.name] = made[value.name]
                continue
        yield statement


@register_pass(mutates_CFG=True, analysis_only=False)
class _Translate(FunctionPass):
    """Byte code -> numba's IR, in which every number is an int64.

    To numba 0 and 1 have two types, and a variable that is set to one could not be set to the
    other. When variables live is not asked: nothing here has to be freed.
    """

    _name = "translate"

    def __init__(self) -> None:
        super().__init__()                    # numba's __init__ is abstract

    def run_pass(self, state: Any) -> bool:
        func_ir = _Interpreter(state.func_id).interpret(state.bc)
        func_ir.blocks = transforms.canonicalize_cfg(func_ir.blocks)
        for block in func_ir.blocks.values():
            block.body = list(_without_tuples(block.body))
            for assign in block.find_insts(ir.Assign):
                value = assign.value
                if isinstance(value, (ir.Const, ir.Global)) and type(value.value) is int:
                    assign.value = ir.Const(value.value, value.loc, use_literal_type=False)
        state.func_ir = func_ir
        return True


class _Pipeline(compiler.CompilerBase):
    """Runs those of numba's passes that numbers, calls and loops need.

    SSA form is left out: a variable has one type here, and LLVM makes that form anyway.
    """

    def define_pipelines(self) -> list[Any]:
        passes = compiler.PassManager("nncompile")
        for one in (_Translate, untyped_passes.FixupArgs, typed_passes.NopythonTypeInference,
                    typed_passes.NativeLowering, typed_passes.NoPythonBackend):
            passes.add_pass(one, one.__doc__ or one.__name__)
        passes.finalize()
        return [passes]


_TYPING = _TypingContext()
_TARGET = _TargetContext(_TYPING)


def new_module() -> Any:
    """Returns an empty module for functions."""
    return _TARGET.codegen()._create_empty_module("functions")


def add_function(module: Any, python: Callable[..., Any], arguments: str, result: str) -> Any:
    """Adds a function whose primitives `declare_primitive` made, in numba's convention; returns it.

    Raises numba's errors where it does not understand the function.
    """
    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"                          # x // 0 is 0, nothing raises
    _Library.module = module
    done = compiler.compile_extra(_TYPING, _TARGET, python, tuple(_KINDS[a] for a in arguments),
                                  _KINDS[result], flags, {}, pipeline_class=_Pipeline)
    return module.globals[done.fndesc.mangled_name]
