"""Python functions -> one object file with plain C symbols, compiled by numba.

numba turns each function into LLVM IR; of that we keep the function itself, without numba's
wrappers (their error path refers to symbols of numba, and an object with such a reference cannot be
loaded by a process that has not imported numba), and let the target's own code generator make the
object.  Functions call each other and the kernels by C symbol, so numba never runs any of them.
"""
from __future__ import annotations

import functools
import hashlib
import linecache
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import llvmlite.binding as llvm

from nncompile.cpu.target import Target, machine
from nncompile.cpu.words import POINTER, WORDS, Word, retyped, symbol
from nncompile.errors import CompileError


@dataclass(frozen=True)
class Function:
    """A Python function to compile: its C symbol, and the letters (see words) of its types."""

    symbol: str
    python: Callable[..., Any]
    arguments: str
    result: str


def runtime(python: Callable[..., Any]) -> Word:
    """Decorator: a function of the runtime, compiled as "nnc_" + its name.

    Its annotations give its types: Pointer, int, or None.  Other functions of the runtime call it
    by its symbol.
    """
    letters = {"Pointer": "p", "int": "i", "None": "n"}
    *arguments, result = (letters[a] for a in python.__annotations__.values())
    call = symbol(python.__name__, "".join(arguments), result, "nnc_" + python.__name__)
    return replace(call, python=python)


def runtime_function(word: Word) -> Function:
    assert word.python is not None
    return Function("nnc_" + word.name, word.python, word.arguments, word.result)


# -- source text ----------------------------------------------------------------------------------

def source_hash(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def execute(source: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run generated source; returns its global names.

    The text is registered in `linecache` under "<nncompile HASH>", so that tracebacks, pdb and
    inspect show it.
    """
    file_name = f"<nncompile {source_hash(source)}>"
    linecache.cache[file_name] = (len(source), None, source.splitlines(True), file_name)
    scope = dict(names)
    exec(compile(source, file_name, "exec"), scope)
    return scope


# -- compiling ------------------------------------------------------------------------------------

def compile_functions(functions: Sequence[Function], target: Target) -> bytes:
    """Object code in which each function is a C function.

    A function's global names may be words, numbers, and functions whose body is numba's Python.
    Raises CompileError, with numba's reason and the line, where a function is anything else.
    """
    whole = llvm.parse_assembly("")
    for function in functions:
        whole.link_in(llvm.parse_assembly(with_entry_point(function)))
    whole.triple = target.triple
    hide_all_but({f.symbol for f in functions}, whole)
    generator = machine(target)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False     # there is nothing to gain
    builder = llvm.create_pass_builder(generator, options)
    builder.getModulePassManager().run(whole, builder)
    return bytes(generator.emit_object(whole))


def with_entry_point(function: Function) -> str:
    """LLVM IR of the function as numba calls it, and of the C function that calls it.

    numba's convention: status f(result*, error*, arguments...).  The status is not looked at: these
    functions contain nothing that raises.
    """
    ir_text, inner = numba_ir(function)
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


def hide_all_but(symbols: set[str], module: Any) -> None:
    """Make everything else the module's own, so that LLVM inlines it and drops what is unused."""
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in symbols:
            value.linkage = llvm.Linkage.internal


def numba_ir(function: Function) -> tuple[str, str]:
    """What numba makes of a function, and the name of it therein."""
    from numba.core import compiler, errors, registry
    from numba.core import types as nb

    kinds = {"p": nb.voidptr, "i": nb.int64, "n": nb.void}
    target = registry.cpu_target
    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"                          # x // 0 is 0, nothing raises
    try:
        result = compiler.compile_extra(
            target.typing_context, target.target_context, in_numba(function.python),
            tuple(kinds[a] for a in function.arguments), kinds[function.result], flags, {},
            pipeline_class=pipeline())
    except (errors.NumbaError, TypeError) as error:      # TypeError: a word's argument is missing
        code = function.python.__code__
        raise CompileError(f"{code.co_name} cannot be compiled ({code.co_filename}, line "
                           f"{code.co_firstlineno}):\n{error}") from error
    return result.library.get_llvm_str(), result.fndesc.mangled_name


@functools.cache
def pipeline() -> Any:
    """What numba does to a function: no more than numbers, pointers, calls and loops need.  That is
    two thirds of the time of its whole list."""
    from numba.core import typed_passes as typed
    from numba.core import untyped_passes as untyped
    from numba.core.compiler import CompilerBase, PassManager

    class Pipeline(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            passes = PassManager("nncompile")
            for one in (untyped.TranslateByteCode, untyped.FixupArgs, untyped.IRProcessing,
                        untyped.ReconstructSSA, typed.NopythonTypeInference,
                        typed.PreLowerStripPhis, typed.NativeLowering, typed.NoPythonBackend):
                passes.add_pass(one, one.__doc__ or one.__name__)
            passes.finalize()
            return [passes]

    return Pipeline


def in_numba(python: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the words among its global names as numba's intrinsics."""
    code, scope = python.__code__, python.__globals__
    used = {n: scope[n] for n in code.co_names if n in scope}
    # numba's own min and max are functions of its library, which it would compile and link
    used |= {n: WORDS[n] for n in ("min", "max") if n in code.co_names}
    words = {n: intrinsic(word) for n, word in used.items() if isinstance(word, Word)}
    return types.FunctionType(code, {**scope, **words}, code.co_name)


@functools.cache
def intrinsic(word: Word) -> Any:
    """The word as numba's compiler takes it."""
    from numba.core import types as nb
    from numba.extending import intrinsic as register

    kinds = {"p": nb.voidptr, "i": nb.int64, "c": nb.int64, "n": nb.void}
    wanted = [kinds[a] for a in word.arguments]

    def emit(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
        values = [context.cast(builder, *three)
                  for three in zip(values, signature.args, wanted, strict=True)]
        value = word.emit(builder, [retyped(v, POINTER) if letter == "p" else v
                                    for v, letter in zip(values, word.arguments, strict=True)])
        if word.result == "p":
            return retyped(value, context.get_value_type(nb.voidptr))
        return context.get_dummy_value() if word.result == "n" else value

    # numba wants a parameter for each argument
    names = ", ".join(f"a{i}" for i in range(len(wanted)))
    scope = {"signature": kinds[word.result](*wanted), "emit": emit}
    exec(f"def {word.name}(context, {names}): return signature, emit", scope)
    return register(scope[word.name])
