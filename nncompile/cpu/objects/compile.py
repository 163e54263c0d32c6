"""Python functions -> one object file with plain C symbols, compiled by numba.

numba turns each function into LLVM IR. Of that only the function itself is kept, without numba's
wrappers: their error path refers to symbols of numba, and an object with such a reference cannot be
loaded by a process that has not imported numba. The target's own code generator then makes the
object. Functions call each other and the kernels by C symbols, so that numba never runs any of
them.
"""
from __future__ import annotations

import functools
import hashlib
import linecache
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir as ll

from ir.records import dataclass, replace
from nncompile.collection import paused_collection
from nncompile.cpu.objects.emit import Emitter
from nncompile.cpu.objects.link import check_executable_memory
from nncompile.cpu.objects.primitives import POINTER, PRIMITIVES, Primitive, declared, symbol
from nncompile.cpu.vector import Target, retyped, take_apart, text_for
from nncompile.errors import CompileError


@dataclass(frozen=True)
class Function:
    """A Python function to compile: its C symbol, and the letters (see primitives) of its types."""

    symbol: str
    python: Callable[..., Any]
    arguments: str
    result: str


def runtime(python: Callable[..., Any]) -> Primitive:
    """Decorates a function of the runtime, which is compiled as "nnc_" + its name.

    Its annotations give its types: Pointer, int, or None. Other functions of the runtime call it by
    its symbol.
    """
    letters = {"Pointer": "p", "int": "i", "None": "n"}
    *arguments, result = (letters[a] for a in python.__annotations__.values())
    call = symbol(python.__name__, "".join(arguments), result, "nnc_" + python.__name__)
    return replace(call, python=python)


def runtime_function(primitive: Primitive) -> Function:
    """Returns the function to compile of a primitive that `runtime` made."""
    assert primitive.python is not None
    return Function("nnc_" + primitive.name, primitive.python, primitive.arguments,
                    primitive.result)


# -- source text ----------------------------------------------------------------------------------

def source_hash(source: str) -> str:
    """Returns a short digest of a source text."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def execute(source: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Runs generated source, and returns its global names.

    The text is registered in `linecache` under "<nncompile HASH>", so that tracebacks, pdb and
    inspect show it.
    """
    file_name = f"<nncompile {source_hash(source)}>"
    linecache.cache[file_name] = (len(source), None, source.splitlines(True), file_name)
    scope = dict(names)
    exec(compile(source, file_name, "exec"), scope)
    return scope


# -- compiling ------------------------------------------------------------------------------------

def compile_functions(functions: Sequence[Function], target: Target,
                      exported: Collection[str]) -> bytes:
    """Returns object code with a C function for each symbol in `exported`.

    The functions of other symbols are inlined into those that call them. A function's global names
    may be primitives, numbers, and functions whose body is Python that numba knows.
    Raises CompileError, with numba's reason and the line, where a function uses anything else.
    """
    return simplified(lowered(functions, target, exported), Emitter(target))


@paused_collection()
def lowered(functions: Sequence[Function], target: Target, exported: Collection[str]) -> str:
    """Returns LLVM IR of the functions: the part of `compile_functions` that is numba's."""
    check_executable_memory()                      # else importing numba raises PermissionError
    from nncompile.cpu.objects.numba_target import new_module

    module = new_module()
    for function in functions:
        _add(module, function)
    _inline_all_but(exported, module)
    text = text_for(module, target)
    take_apart(module)
    return text


def simplified(text: str, emitter: Emitter) -> bytes:
    """Returns object code of what `lowered` returned: the part that is LLVM's."""
    module = llvm.parse_assembly(text, llvm.create_context())
    _simplify(module, emitter.machine)
    return emitter.emitted(module._ptr)


def _add(module: Any, function: Function) -> None:
    """Adds the function as numba calls it, and the C function that calls it.

    numba's convention is status f(result*, error*, arguments...). The status is ignored, since
    nothing in these functions raises.
    """
    inner = _by_numba(module, function)
    outer = declared(module, function.symbol, function.arguments, function.result)
    outer.attributes.add("nounwind")
    builder = ll.IRBuilder(outer.append_basic_block("entry"))
    kind = POINTER if function.result == "n" else outer.function_type.return_type
    result, error = (retyped(builder.alloca(kind), POINTER) for kind in (kind, POINTER))
    builder.call(inner, [retyped(value, wanted.type) for value, wanted in zip(
        (result, error, *outer.args), inner.args, strict=True)])
    if function.result == "n":
        builder.ret_void()
    else:
        builder.ret(builder.load(result, typ=kind))


def _inline_all_but(exported: Collection[str], module: Any) -> None:
    """Makes all other symbols internal, and lets LLVM inline their functions."""
    for value in module.globals.values():
        is_function = isinstance(value, ll.Function)
        is_defined = bool(value.blocks if is_function else value.initializer)
        if is_defined and value.name not in exported:
            value.linkage = "internal"
            if is_function:
                value.attributes.add("alwaysinline")


def _simplify(module: Any, machine: Any) -> None:
    """Runs those of LLVM's passes that such code gains by: there is nothing to vectorize or unroll.

    The whole list of -O2 takes several times as long. What numba makes of a function keeps all its
    variables in memory, so each is brought into registers before it is copied into its callers:
    that halves the code, and the time.
    """
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_simplify_cfg_pass()
    options = llvm.create_pipeline_tuning_options()
    passes.run(module, llvm.create_pass_builder(machine, options))


def _by_numba(module: Any, function: Function) -> Any:
    """Has numba add a function to the module, and returns it."""
    from numba.core import errors

    from nncompile.cpu.objects.numba_target import add_function

    try:
        return add_function(module, _in_numba(function.python), function.arguments,
                            function.result)
    except (errors.NumbaError, TypeError) as error:      # TypeError: an argument is missing
        code = function.python.__code__
        raise CompileError(f"{code.co_name} cannot be compiled ({code.co_filename}, line "
                           f"{code.co_firstlineno}):\n{error}") from error


def _in_numba(python: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with numba's counterparts in place of primitives."""
    code, scope = python.__code__, python.__globals__
    used = {n: scope[n] for n in code.co_names if n in scope}
    used |= {n: PRIMITIVES[n] for n in ("min", "max") if n in code.co_names}      # not Python's own
    known = {n: _in_place_of(used[n]) for n in used if isinstance(used[n], Primitive)}
    return types.FunctionType(code, {**scope, **known}, code.co_name)


@functools.cache
def _in_place_of(primitive: Primitive) -> Callable[..., None]:
    from nncompile.cpu.objects.numba_target import declare_primitive
    return declare_primitive(primitive)
