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

from ir.records import dataclass, replace
from nncompile.collection import paused_collection
from nncompile.cpu.objects.emit import Emitter
from nncompile.cpu.objects.link import check_executable_memory
from nncompile.cpu.objects.primitives import PRIMITIVES, Primitive, symbol
from nncompile.cpu.vector import Target
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
    return linked(lowered(functions), target, exported, Emitter(target))


@paused_collection()
def lowered(functions: Sequence[Function]) -> list[str]:
    """Returns LLVM IR of each function: the part of `compile_functions` that is numba's."""
    return [_with_entry_point(function) for function in functions]


def linked(modules: Sequence[str], target: Target, exported: Collection[str], emitter: Emitter
           ) -> bytes:
    """Returns object code of what `lowered` returned: the part that is LLVM's."""
    context = llvm.create_context()
    whole = llvm.parse_assembly("", context)
    for module in modules:
        whole.link_in(llvm.parse_assembly(module, context))
    whole.triple = target.triple
    _inline_all_but(exported, whole)
    _simplify(whole, emitter.machine)
    return emitter.emitted(whole._ptr)


def _with_entry_point(function: Function) -> str:
    """Returns LLVM IR of the function as numba calls it, and of the C function that calls it.

    numba's convention is status f(result*, error*, arguments...). The status is ignored, since
    nothing in these functions raises.
    """
    ir_text, inner = _numba_ir(function)
    letters = {"p": "ptr", "i": "i64"}
    arguments = ", ".join(f"{letters[a]} %a{i}" for i, a in enumerate(function.arguments))
    kind = letters.get(function.result, "ptr")
    give_back = f"%value = load {kind}, ptr %result\n  ret {kind} %value"
    return f"""{ir_text}
define {"void" if function.result == "n" else kind} @{function.symbol}({arguments}) nounwind {{
  %result = alloca {kind}
  %error = alloca ptr
  %status = call i32 @{inner}({", ".join(filter(None, ["ptr %result, ptr %error", arguments]))})
  {"ret void" if function.result == "n" else give_back}
}}
"""


def _inline_all_but(exported: Collection[str], module: Any) -> None:
    """Makes all other symbols internal, and lets LLVM inline their functions."""
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in exported:
            value.linkage = llvm.Linkage.internal
            if value.is_function:
                value.add_function_attribute("alwaysinline")


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


def _numba_ir(function: Function) -> tuple[str, str]:
    """Returns the LLVM IR that numba makes of a function, and the function's name in it."""
    check_executable_memory()                      # else importing numba raises PermissionError
    from numba.core import errors

    from nncompile.cpu.objects.numba_target import llvm_of

    try:
        return llvm_of(_in_numba(function.python), function.arguments, function.result)
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
