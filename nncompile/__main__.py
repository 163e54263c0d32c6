"""Runs the command line: `python -m nncompile`."""
import sys

from nncompile.cli import main

sys.exit(main())
