"""Training steps beside those of other libraries.

nets        the models, written once for every library that has torch.nn
contenders  a whole step of each library, in a process of its own
__main__    python -m benchmarks.train: measures, and writes docs/training_benchmarks.md
"""
