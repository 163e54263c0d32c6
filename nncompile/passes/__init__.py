"""The compiler's middle, in the order it runs: clean, recognise, move, fold, fuse."""
from collections.abc import Iterable

from ir import CSE, DCE, FoldConstants, Pass
from nncompile.errors import InputError
from nncompile.passes.compose_views import ComposeViews
from nncompile.passes.fold_batch_norm import FoldBatchNorm
from nncompile.passes.fuse_attention import FuseAttention
from nncompile.passes.fuse_elementwise import FuseElementwise
from nncompile.passes.fuse_linear import FuseLinear
from nncompile.passes.fuse_softmax import FuseSoftmax
from nncompile.passes.join_linear import JoinLinear
from nncompile.passes.merge_linear import MergeLinear
from nncompile.passes.reduce_strength import ReduceStrength
from nncompile.passes.remove_identity import RemoveIdentity
from nncompile.passes.sink_views import SinkViews
from nncompile.passes.use_gelu import UseGELU
from nncompile.passes.use_layer_norm import UseLayerNorm
from nncompile.passes.use_linear import UseLinear
from nncompile.passes.use_literals import UseLiterals
from nncompile.passes.use_log_softmax import UseLogSoftmax
from nncompile.passes.use_rms_norm import UseRMSNorm
from nncompile.passes.use_silu import UseSiLU

DEFAULT_PIPELINE: tuple[Pass, ...] = (
    # clean: what is the same looks the same
    DCE(),               # first: a dead user would keep its operand from fusing
    FoldConstants(),     # before UseLiterals: it makes some of the constants that are one number
    UseLiterals(),       # before ReduceStrength and the patterns: they know numbers, not arrays
    RemoveIdentity(),    # before the patterns: an identity hides its two neighbours from each other
    CSE(),               # before the patterns: a thing written twice has all its users on one node
    ComposeViews(),      # before the patterns: a norm's mean may get its axes back by a reshape
    ReduceStrength(),    # before the patterns: fewer ways to write a thing
    RemoveIdentity(),    # again: two signs may have met
    CSE(),               # again: what was written in two ways
    # recognise
    UseLayerNorm(),      # before UseRMSNorm: a layer norm is an RMS norm of what it centres
    UseRMSNorm(),
    UseSiLU(),           # before UseGELU: it finds sigmoids, and one form of a GELU has one
    UseGELU(),
    UseLogSoftmax(),     # before FuseSoftmax: they share the exponentials
    FuseSoftmax(),       # before the chains: they would take the scale, and parts of the softmax
    FuseAttention(),     # after FuseSoftmax, before SinkViews: the queries lose their scale to it
    # move and fold
    SinkViews(),         # before UseLinear: a bias and a scale come next to their product
    ComposeViews(),      # after SinkViews: views have met
    UseLinear(),         # before what looks for linears: a matmul packs no weights, takes no bias
    FoldBatchNorm(),     # before MergeLinear: a scale may stand between two linears
    MergeLinear(),       # before FuseLinear: a step between two would end it
    # fuse
    FuseLinear(),        # before the other chains: a step costs least in a product's registers
    JoinLinear(),        # after FuseLinear: a step that a linear took, a slice of one could not
    ComposeViews(),      # after JoinLinear: its weights may be slices of one parameter
    FoldConstants(),     # again: weights were turned, folded and joined, and some are constants
    CSE(),               # again: what was written in two ways, the last ones have made equal
    FuseElementwise(),   # last: what is left
)


def checked_pipeline(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """The passes as a tuple.  Raises InputError where one is no pass, and says which."""
    if isinstance(passes, str) or not isinstance(passes, Iterable):
        raise InputError("passes= takes passes in their order, such as (*DEFAULT_PIPELINE, "
                         f"CSE()), not {passes!r}")
    pipeline = tuple(passes)
    for i, step in enumerate(pipeline):
        if isinstance(step, type):
            raise InputError(f"passes[{i}] is the class {step.__name__}, not a pass\n"
                             f"  do: {step.__name__}(), which takes the pass's options")
        name = getattr(step, "name", None)
        if not callable(step) or not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"passes[{i}] is {step!r}, not a pass: a function of a graph to a "
                             "graph that has a name, which is a Python identifier")
    return pipeline


__all__ = [
    "DEFAULT_PIPELINE", "ComposeViews", "FoldBatchNorm", "FuseAttention", "FuseElementwise",
    "FuseLinear", "FuseSoftmax", "JoinLinear", "MergeLinear", "ReduceStrength", "RemoveIdentity",
    "SinkViews", "UseGELU", "UseLayerNorm", "UseLinear", "UseLiterals", "UseLogSoftmax",
    "UseRMSNorm", "UseSiLU",
]
