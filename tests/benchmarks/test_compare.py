"""The comparison of two checkouts: it runs, and refuses results that differ."""
import pytest

from benchmarks import compare
from benchmarks.compare import HERE, main

ONE = ["--models", "policy", "--batches", "1", "--threads", "1", "--rounds", "4"]


def test_a_checkout_beside_itself(capsys):
    main([str(HERE), *ONE])
    row, mean = capsys.readouterr().out.splitlines()
    assert row.startswith("policy       1 threads, batch     1: ") and "1 rows: " in mean


def test_results_that_differ_are_no_row():
    class Other:
        def __init__(self, bits):
            self.bits = bits

        def ask(self, **question):
            return self.bits

    with pytest.raises(SystemExit, match="results differ"):
        compare.compare({"model": "m", "threads": 1, "batch": 1}, Other(["a"]), Other(["b"]), 1)
