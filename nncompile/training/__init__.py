"""A training step as one graph: forward, loss, gradients, and the optimizer's update.

    objective    the model and the loss as one module, which is traced
    step_graph   its gradient and the update of each parameter: a graph with states
    step         TrainStep: what a user holds

The gradients are the rules of `ir.ops.gradients`, the updates are those of `nncompile.optim`, which
are traced. The parameters, and the arrays of the optimizer's state, are the states of the graph.
"""
