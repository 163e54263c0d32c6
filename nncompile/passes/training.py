"""The passes of a training step, and the order in which they run.

They are those of inference, of which few have much to do where weights are states, and four more.
The comment beside a pass says what a training step has for it, where that is not what
`nncompile.passes` says, and the reason for its position.
"""
from ir import CSE, DCE, FoldConstants, Pass
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
from nncompile.passes.transpose_head import TransposeHead
from nncompile.passes.transpose_narrow import TransposeNarrow
from nncompile.passes.use_attention import UseAttention
from nncompile.passes.use_gelu import UseGELU
from nncompile.passes.use_layer_norm import UseLayerNorm
from nncompile.passes.use_linear import UseLinear
from nncompile.passes.use_literals import UseLiterals
from nncompile.passes.use_log_softmax import UseLogSoftmax
from nncompile.passes.use_max import UseMax
from nncompile.passes.use_reciprocal import UseReciprocal
from nncompile.passes.use_rms_norm import UseRMSNorm
from nncompile.passes.use_saved_gelu import UseSavedGELU
from nncompile.passes.use_silu import UseSiLU

TRAINING_PIPELINE: tuple[Pass, ...] = (
    # clean: equal things come to look the same
    DCE(),               # first: a dead node that uses a value would keep that from being fused
    FoldConstants(),     # before UseLiterals: folding makes constants that are one number
    UseLiterals(),       # before ReduceStrength and the patterns, which look for plain numbers
    RemoveIdentity(),    # before the patterns, which do not look through an identity
    CSE(),               # before the patterns: what is written twice becomes one node, and its uses
                         # are all counted there
    ComposeViews(),      # before the patterns: a reshape may restore the axes of a norm's mean
    ReduceStrength(),    # before the patterns: they need to know fewer ways to write arithmetic
    RemoveIdentity(),    # again: ReduceStrength may leave two negations in a row
    CSE(),               # again: ReduceStrength has made equal what was written in two ways
    # recognise
    TransposeHead(),     # before FuseSoftmax and FuseElementwise, which take what it looks for;
                         # after CSE: the indices that are gathered and scattered are one value
    UseLayerNorm(),      # before UseRMSNorm: a layer norm is an RMS norm of what it centres
    UseRMSNorm(),
    UseSiLU(),           # before UseGELU: it finds the sigmoid that one form of a GELU contains
    UseGELU(),
    UseSavedGELU(),      # after UseGELU, whose result it reads
    UseMax(),            # before the softmaxes, which subtract their largest element
    UseLogSoftmax(),     # before FuseSoftmax: both begin with the same exponentials
    FuseSoftmax(),       # before FuseElementwise, which would take the scale and the exponentials
    FuseAttention(),     # after FuseSoftmax, whose softmax takes the scale of the queries; before
                         # SinkViews, which would move that scale to the queries' linear
    # move and fold
    SinkViews(),         # before UseLinear: it brings a bias or a scale next to its product
    ComposeViews(),      # after SinkViews, which brings views together
    UseLinear(),         # before the passes that look for linears
    FoldBatchNorm(),     # before MergeLinear: a scale may stand between two linears
    MergeLinear(),       # before FuseLinear: a linear with a step is not merged
    TransposeNarrow(),   # after the passes that look for linears, none of which it leaves; before
                         # FuseLinear: a product takes in its steps as it is then
    UseReciprocal(),     # before FuseElementwise, which would take in the quotient
    # fuse
    FuseLinear(),        # before FuseElementwise: a step costs least in a product's registers
    JoinLinear(),        # after FuseLinear: a step cannot be fused into a slice of a joined linear
    ComposeViews(),      # after JoinLinear: the weights it joins may be slices of one parameter
    FoldConstants(),     # again: weights that were transposed, folded or joined may be constants
    CSE(),               # again: the passes since the last one have made more things equal
    FuseElementwise(),   # after all that fuse: it takes what no other pass has taken
    # name
    UseAttention(),      # last: the other passes know its parts
)
