"""Compiled models beside every peer, on models and batches of all kinds: `python -m benchmarks`."""
