"""Writes docs/torch_parity.md: every public name of torch.nn beside ours.

    python tools/torch_parity.py

It needs torch. What is `same` is decided by looking: the name is there, and takes the arguments
that torch's takes, in that order, with those defaults. How something differs is said here.
"""
from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TARGET = ROOT / "docs" / "torch_parity.md"

# Why a name is not here: the first of these whose words occur in it.
OUT_OF_SCOPE = {
    "Conv Unfold Fold Pool conv unfold fold pool": "convolutions and pooling",
    "RNN LSTM GRU": "recurrence",
    "Loss loss CrossEntropy cross_entropy kl_div nll_ AdaptiveLogSoftmax": "losses: training",
    "gumbel": "random, training",
    "DataParallel SyncBatchNorm": "several devices",
    "Upsampl upsample interpolate grid_sample affine_grid Pixel pixel_": "images",
    "ChannelShuffle channel_shuffle": "images",
    "scaled_mm grouped_mm scaled_grouped": "eight-bit floats",
    "BatchNorm2d BatchNorm3d InstanceNorm2d InstanceNorm3d": "images",
    "Pad1d Pad2d Pad3d": "images; functional.pad is here",
    "has_torch_function handle_torch_function boolean_dispatch assert_int": "torch's own machinery",
    "backward zero_grad": "gradients: training",
    "cuda xpu ipu mtia share_memory": "devices",
    "T_destination dump_patches call_super_init": "torch's own machinery",
    "compile": "nncompile.compile(model, ...) is here",
    "Container": "removed long ago",
}
TYPES = {"Callable", "DType", "Literal", "Optional", "ParamSpec", "ScalingType", "SwizzleType",
         "TypeVar"}
IN_PLACE = "changes its argument: write x = f(x)"

DIFFERS = {
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
    "nn.Module": "state_dict holds NumPy arrays; no gradients and no devices",
    "nn.Sequential": "one mapping of any kind is taken, not only an OrderedDict",
    "nn.ParameterList": "its text says float32, not torch.float32",
    "nn.ParameterDict": "its text says float32, not torch.FloatTensor",
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
    "nn.Module.state_dict": "NumPy arrays; by keyword alone",
}
SAME_THOUGH = {                    # arguments that inspect cannot compare
    "nn.functional.bilinear", "nn.functional.gelu", "nn.functional.hardshrink",
    "nn.functional.logsigmoid", "nn.functional.one_hot", "nn.functional.pairwise_distance",
    "nn.functional.prelu", "nn.functional.softplus", "nn.functional.softshrink",
    "nn.functional.cosine_similarity", "nn.functional.linear", "nn.functional.celu",
    "nn.functional.scaled_dot_product_attention", "nn.functional.pad",
}


def public(space: Any) -> list[str]:
    """Returns the names that a module or class offers, without the modules and types it imports."""
    names = [n for n in dir(space) if not n.startswith("_")]
    if inspect.ismodule(space):
        names = [n for n in names if callable(getattr(space, n)) and n != "Tensor"]
    return [n for n in names if not isinstance(getattr(space, n), types.ModuleType)]


def row(name: str, ours: Any, theirs: Any, short: str) -> tuple[str, str]:
    """Returns a verdict (same, differs, not yet, out of scope) and a remark."""
    if ours is None or short in TYPES:
        return absent(short)
    if name in DIFFERS:
        return "differs", DIFFERS[name]
    if name in SAME_THOUGH or not callable(theirs):
        return "same", ""
    given, wanted = arguments(ours), arguments(theirs)
    if given is None or wanted is None or given == wanted:
        return "same", ""
    extra = [n for n in wanted if n not in given]
    return "differs", f"arguments: no {', '.join(n[0] for n in extra)}" if extra else (
        "more arguments")


def arguments(function: Any) -> list[tuple[str, Any]] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return None
    return [(p.name, p.default if isinstance(p.default, int | float | str | None) else "")
            for p in parameters]


def absent(short: str) -> tuple[str, str]:
    if short in TYPES:
        return "out of scope", "a type"
    for words, reason in OUT_OF_SCOPE.items():
        if any(word in short for word in words.split()):
            return "out of scope", reason
    if short.endswith("_"):
        return "out of scope", IN_PLACE
    return "not yet", ""


def table() -> str:
    import torch

    from nncompile import nn

    classes = [n for n in public(torch.nn) if inspect.isclass(getattr(torch.nn, n))]
    spaces = [
        ("nn", nn, torch.nn, classes),
        ("nn.Module", nn.Module, torch.nn.Module, public(torch.nn.Module)),
        ("nn.functional", nn.functional, torch.nn.functional, public(torch.nn.functional)),
        ("nn.init", nn.init, torch.nn.init, public(torch.nn.init)),
    ]
    lines = [HEAD.format(version=torch.__version__.partition("+")[0])]
    for title, ours, theirs, names in spaces:
        rows = [(n, *row(f"{title}.{n}", getattr(ours, n, None), getattr(theirs, n), n))
                for n in names]
        counts = {kind: sum(r[1] == kind for r in rows)
                  for kind in ("same", "differs", "not yet", "out of scope")}
        summary = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        lines += [f"## {title}", "", f"{len(rows)} names: {summary}.", "",
                  "| name | | |", "|---|---|---|"]
        lines += [f"| `{name}` | {kind} | {note} |" for name, kind, note in rows]
        lines.append("")
    return "\n".join(lines)


HEAD = """\
# Beside torch.nn

This table has every public name of torch.nn, torch.nn.functional and torch.nn.init in torch
{version}, and says what it is here. *same* means the same name, arguments, defaults and meaning;
*differs* is followed by the difference; *not yet* and *out of scope* are not here.
`tools/torch_parity.py` writes the table, and a test compares it with the code.

These differences hold for all names. Arrays are NumPy arrays on the CPU, and no gradient is kept.
An operation in place changes an Array that the model made itself; an ndarray that is passed to a
model is never changed.
"""

if __name__ == "__main__":
    TARGET.write_text(table())
    print(f"wrote {TARGET.relative_to(ROOT)}")
