"""Writes docs/torch_parity.md: the public names of torch and its modules beside ours.

    python tools/torch_parity.py

It needs torch. What is `same` is decided by looking: the name is there, and takes the arguments
that torch's takes. How something differs is said here; why something is not here, and what is a
no-op, nncompile/placeholders.py says, which has the names themselves from torch_names.txt.
"""
from __future__ import annotations

import inspect
import sys
import warnings
from collections import Counter
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from torch_names import NEEDS_OTHERS  # noqa: E402
from torch_signatures import STUBS, unknown_to  # noqa: E402

from nncompile.placeholders import (  # noqa: E402
    CLASSES,
    TORCH_VERSION,
    is_placeholder,
    names_of,
    no_ops,
    reason,
    torch_names,
)

TARGET = ROOT / "docs" / "torch_parity.md"

DIFFERS = {
    **{f"{module}GradScaler": "never enabled: gradients in float32 need no scale"
       for module in ("", "amp.", "cuda.amp.", "cpu.amp.")},
    "nn.Embedding": "max_norm scales what is looked up; the table itself stays as it is",
    "nn.EmbeddingBag": "max_norm scales what is looked up; the table itself stays as it is",
    "nn.CrossMapLRN2d": "torch's never takes the first channel out of its running sum",
    "nn.GELU": "the limits at infinities, where torch has NaN; closer to the exact value below -3",
    "nn.SiLU": "-0 at -inf, where torch has NaN", "nn.Mish": "-0 at -inf, where torch has NaN",
    "nn.Hardswish": "-0 at -inf, where torch has NaN",
    "nn.Softsign": "1 and -1 at infinities, where torch has NaN",
    "nn.Buffer": "of a NumPy array", "nn.Parameter": "of a NumPy array; `data` is the array",
    "nn.UninitializedParameter": "has a shape, [0], where torch's has none",
    "nn.UninitializedBuffer": "has a shape, [0], where torch's has none",
    "nn.Module.half": "rounds to float16; kept and computed in float32",
    "nn.Module.bfloat16": "rounds to bfloat16; kept and computed in float32",
    "nn.Module.to_empty": "zeros",
    "nn.Module": "state_dict holds NumPy arrays; no devices",
    "nn.Sequential": "one mapping of any kind is taken, not only an OrderedDict",
    "nn.ParameterDict": "its text says torch.float32, not torch.FloatTensor",
    "nn.functional.embedding": "max_norm scales what is looked up; the table stays as it is",
    "nn.functional.embedding_bag": "max_norm scales what is looked up; the table stays as it is",
    "nn.functional.gelu": "the limits at infinities, where torch has NaN",
    "nn.functional.silu": "-0 at -inf, where torch has NaN",
    "nn.functional.mish": "-0 at -inf, where torch has NaN",
    "nn.functional.hardswish": "-0 at -inf, where torch has NaN",
    "nn.functional.softsign": "1 and -1 at infinities, where torch has NaN",
    "nn.functional.multi_head_attention_forward": "no static_k and static_v",
    "nn.functional.normalize": "no out=",
    "nn.functional.one_hot": "num_classes has to be given in a trace",
    "nn.Module.to": "floats only, and the CPU",
    **{f"distributions.{name}": "no rsample" for name in (
        "Gamma", "Chi2", "Beta", "Dirichlet", "StudentT")},
    "nn.Module.state_dict": "NumPy arrays; by keyword alone",
}
SAME_THOUGH = {                    # arguments that inspect cannot compare
    "nn.functional.bilinear", "nn.functional.gelu", "nn.functional.hardshrink",
    "nn.functional.logsigmoid", "nn.functional.one_hot", "nn.functional.pairwise_distance",
    "nn.functional.prelu", "nn.functional.softplus", "nn.functional.softshrink",
    "nn.functional.cosine_similarity", "nn.functional.linear", "nn.functional.celu",
    "nn.functional.scaled_dot_product_attention", "nn.functional.pad",
    "distributions.constraints.dependent", "distributions.constraints.dependent_property",
}
ELSEWHERE = "another place of a name of {}"


def verdict(module: str, name: str, ours: Any, theirs: Any) -> str:
    """Returns what a name is here: the text of its row."""
    full = f"{module}.{name}" if module else name
    if is_placeholder(ours) or ours is None:
        why = reason(module, name)
        return why if why == "not yet" else f"out of scope: {why}"
    if full in no_ops():
        return "no-op"
    if full in DIFFERS:
        return f"differs: {DIFFERS[full]}"
    if full in SAME_THOUGH or not callable(theirs):
        return "same"
    if module in STUBS:
        unknown = unknown_to(ours, module, name, theirs)
        return f"differs: no {', '.join(unknown)}" if unknown else "same"
    given, wanted = arguments(ours), arguments(theirs)
    if given is None or wanted is None or given == wanted:
        return "same"
    extra = [n for n in wanted if n not in given]
    return f"differs: no {', '.join(n[0] for n in extra)}" if extra else "differs: more arguments"


def arguments(function: Any) -> list[tuple[str, Any]] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return None
    return [(p.name, p.default if isinstance(p.default, int | float | str | None) else "")
            for p in parameters]


def rows(module: str) -> dict[str, list[str]]:
    """Returns the names of a module or class of torch's by the text of their row."""
    ours, theirs = space("nncompile", module), space("torch", module)
    found: dict[str, list[str]] = {}
    for name, known in names_of(module).items():
        refuses = known.kind == "functions" and is_placeholder(getattr(ours, name, None))
        if (known.home, known.known_as) != (module, name) and not refuses:
            row = ELSEWHERE.format(f"torch.{known.home}" if known.home else "torch")
        else:
            row = verdict(module, name, getattr(ours, name, None), getattr(theirs, name, None))
        found.setdefault(row, []).append(name)
    order = {"same": 0, "no-op": 2, "not yet": 3}
    return dict(sorted(found.items(), key=lambda item: (
        4 if item[0].startswith("out of") else 5 if item[0].startswith("another")
        else order.get(item[0], 1), item[0])))


def space(package: str, module: str) -> Any:
    """Returns a module or class of torch, or ours of the same name.

    None for a module of torch's that needs another package: its names are placeholders here.
    """
    if package == "torch" and module in NEEDS_OTHERS:
        return None
    if module in CLASSES:
        return reduce(getattr, module.split("."), import_module(package))
    return import_module(f"{package}.{module}" if module else package)


def section(module: str) -> list[str]:
    found = rows(module)
    title = f"torch.{module}" if module else "torch"
    lines = [f"## {title}", "", f"{summary(found)}.", "", "| | names |", "|---|---|"]
    lines += [f"| {row} | {' '.join(f'`{name}`' for name in names)} |"
              for row, names in found.items()]
    return [*lines, ""]


def summary(found: dict[str, list[str]]) -> str:
    counts: Counter[str] = Counter()
    for row, names in found.items():
        counts[row.partition(":")[0].replace("another place", "another place:")
               .partition(": of")[0].partition(":")[0]] += len(names)
    return f"{sum(counts.values())} names: " + ", ".join(
        f"{count} {kind}" for kind, count in counts.items())


def table() -> str:
    warnings.simplefilter("ignore")
    first = ["", "Tensor", "nn", "nn.Module", "nn.functional", "nn.init"]
    names = torch_names()
    elsewhere = {module: sorted({f"torch.{n.home}" if n.home else "torch"
                                 for n in names[module].values()})
                 for module in names if names[module] and all(
                     (n.home, n.known_as) != (module, name) for name, n in names[module].items())}
    lines = [HEAD.format(version=TORCH_VERSION)]
    for module in [*first, *(m for m in names if m not in first)]:
        if names[module] and module not in elsewhere:
            lines += section(module)
    lines += ["## Modules with names of others", "", "| module | its names are those of |",
              "|---|---|"]
    lines += [f"| `torch.{module}` | {', '.join(f'`{home}`' for home in homes)} |"
              for module, homes in elsewhere.items()]
    return "\n".join(lines) + "\n"


HEAD = """\
# Beside torch

This page has the public names of torch {version}, of its classes Tensor and nn.Module and of the
modules that models import, each in a row that says what it is here:

- *same*: the name, its arguments, defaults and meaning;
- *differs*, followed by the difference;
- *no-op*: it does nothing, which is right where no device but the CPU is;
- *not yet* and *out of scope*: not here. The name can be imported, subclassed and made, so that a
  model which makes a loss or an optimizer and does not use it runs; used, it raises Error. A method
  or an attribute of Tensor and Module that is not here raises AttributeError.

`tools/torch_parity.py` writes the page, and a test compares it with the code.

These differences hold for all names. Arrays are on the CPU, and gradients are computed eagerly
or by [a compiled step](training.md).
An operation in place changes an Array that the model made itself; an ndarray that is passed to a
model is never changed.
"""

if __name__ == "__main__":
    TARGET.write_text(table())
    print(f"wrote {TARGET.relative_to(ROOT)}")
