"""docs/torch_parity.md says what is so."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_table_is_what_the_tool_writes():
    pytest.importorskip("torch", reason="torch, whose names the table lists, is not installed")
    spec = importlib.util.spec_from_file_location("torch_parity", ROOT / "tools/torch_parity.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = (ROOT / "docs/torch_parity.md").read_text()
    assert tool.table() == text, "python tools/torch_parity.py writes it anew"
