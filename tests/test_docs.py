"""The documents are true: their code runs and prints what they show, and what they name exists.

How a page's fenced blocks are read, in order, in one namespace a page:

    ```python                     is run; with title="model.py" it is that file, too
    ```shell                      lines `nncompile ...`, run as the command line would
    ```text  ```error             what the blocks since the last of these have printed, and what
                                  they raised, as a traceback ends; `...` stands for anything
    <!-- not run: REASON -->      on the line before a block: it is only shown
    <!-- excerpt of: EXPRESSION -->     the block is a part of that expression's text

Blocks of other languages, or of none, are only shown.
"""
from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nncompile import cli
from nncompile.cli.parser import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ir/README.md",
         *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r'^(?:<!-- (?P<marker>[^\n]*) -->\n)?```(?P<language>\w*)'
                   r'(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)
SHOWN = {"", "diff", "dockerfile", "mermaid", "toml"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; `line` is that of its first line in the page."""

    language: str
    text: str
    title: str
    marker: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        yield Block(found["language"], found["text"], found["title"] or "", found["marker"] or "",
                    text.count("\n", 0, found.start("text")) + 1)


class Page:
    """Runs the blocks of a page one after another and compares what they print."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""
        self.raised: Exception | None = None

    def run(self, block: Block) -> None:
        if block.marker.startswith("excerpt of: "):
            whole = str(eval(block.marker.removeprefix("excerpt of: "), self.namespace))
            assert block.text in whole, f"{self.at(block)}: not found in\n{whole}"
        elif block.marker.startswith("not run: "):
            return
        elif block.language in ("text", "error"):
            self.compare(block)
        elif block.language == "python":
            self.execute(block)
        elif block.language == "shell":
            self.command(block)
        else:
            assert block.language in SHOWN, f"{self.at(block)}: what is {block.language!r}?"

    def execute(self, block: Block) -> None:
        self.end()
        file, code = self.at(block), "\n" * (block.line - 1) + block.text
        if block.title:
            file, code = block.title, block.text
            Path(block.title).write_text(code)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                exec(compile(code, file, "exec"), self.namespace)
            except Exception as error:
                self.raised = error
        self.printed += printed.getvalue()

    def command(self, block: Block) -> None:
        self.end()
        for line in block.text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "nncompile", f"{self.at(block)}: {line} is no command of ours"
            streams = io.StringIO()
            with contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams):
                cli.main(arguments)
            self.printed += streams.getvalue()

    def compare(self, block: Block) -> None:
        got = self.printed
        if self.raised is not None:
            got += "".join(traceback.format_exception_only(self.raised))
        same = doctest.OutputChecker().check_output(block.text, got, doctest.ELLIPSIS)
        assert same, f"{self.at(block)} shows\n{block.text}\nand it is\n{got}"
        self.printed, self.raised = "", None

    def end(self) -> None:
        """No later block shows what was raised, so it is raised here."""
        if self.raised is not None:
            raise self.raised

    def at(self, block: Block) -> str:
        return f"{self.path.relative_to(ROOT)}:{block.line}"


@every_page
def test_code_runs_and_prints_what_is_shown(
        page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Page(page)
    for block in blocks(page):
        reader.run(block)
    reader.end()
    assert reader.printed == "", "the page does not show what its last blocks print"


@every_page
def test_every_block_is_read(page: Path) -> None:
    fences = re.findall(r"^\s*```", page.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(list(blocks(page)))


@every_page
def test_what_a_page_names_is_there(page: Path) -> None:
    prose = FENCE.sub("", page.read_text())
    named = re.findall(
        r"`((?:ir|nncompile|tests|docs|examples|benchmarks|tools)/[\w./]*)`", prose)
    linked = re.findall(r"\]\((?!https?:)([^)#\s]+)[)#]", prose)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [target for target in linked if not (page.parent / target).exists()]
    assert missing == []


@every_page
def test_links_within_a_page_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text())
    headings = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)\s]+)\)", prose)) <= headings


def test_the_picture_of_the_house_is_the_house() -> None:
    picture = next(b.text for b in blocks(ROOT / "docs/architecture.md") if b.language == "")
    room, named = "", set()
    for line in picture.splitlines():
        words = line[2:25].split()
        if line and not line.startswith(" "):
            room = line.split()[0]
        else:
            named |= {room + word for word in words if word.endswith((".py", "/", ".md"))}
    here = {f"{room}/{path.name}{'/' * path.is_dir()}" for room in ("ir", "nncompile")
            for path in (ROOT / room).iterdir()
            if path.suffix in (".py", ".md") or (path.is_dir() and path.name[0] not in "._")}
    unsaid = {f"{room}/{name}" for room in ("ir", "nncompile")
              for name in ("__init__.py", "__main__.py")}
    assert named == here - unsaid


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    packages = [path.parent.relative_to(ROOT) for room in ("ir", "nncompile")
                for path in (ROOT / room).rglob("__init__.py")]
    assert [str(path) for path in packages if f"{path.name}/" not in page] == []


def test_the_glossary_is_short_and_in_order() -> None:
    glossary = (ROOT / "docs/architecture.md").read_text().partition("\n## Glossary\n")[2]
    terms = re.findall(r"^\| ([\w ,]+) \|", glossary, re.MULTILINE)[1:]
    assert 0 < len(terms) <= 40
    assert terms == sorted(set(terms), key=str.lower)


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs and mkdocstrings are not installed")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet",
                           "--site-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    remote = re.compile(r'(?:\bsrc|<link\b[^>]*\bhref)="?(https?://[^">\s]*)')
    for page in tmp_path.rglob("*.html"):
        assert remote.findall(page.read_text()) == [], page.name


def test_the_page_of_the_command_line_has_every_option() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text()
    options = {option.name for command in COMMANDS for option in command.options}
    assert [c.name for c in COMMANDS if f"\n## nncompile {c.name}\n" not in page] == []
    assert [option for option in options if option not in page] == []
