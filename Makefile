# The front door. demo, test and lint make their own .venv; all they need is Python 3.10+,
# a C++17 compiler and the package index. On a machine with nvcc the CUDA kernels are built too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := setup.py pyproject.toml CMakeLists.txt constraints.txt $(shell git ls-files csrc vaebias analysis 2>/dev/null)

OLDEST_TORCH := $(shell sed -n 's/^  "torch>=\([0-9.]*\)",/\1/p' pyproject.toml)

.PHONY: demo test lint develop docs browser docs-check dist wheels bench bench-quick compat compat-oldest compat-newest cuda-report gpu sanitize races tree clean

demo: $(VENV)/installed ## the finding on this machine, in some minutes: demo/report.html
	$(BIN)/vaebias demo --out demo --force

test: $(VENV)/tools ## the test suite
	@echo "== Testing: kernels against their references, then every layer above them"
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

lint: $(VENV)/tools tree ## style, types, and DESIGN's arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@! git grep -nE '^ *(r?""")?Of ' -- '*.py' || { echo 'lint: a docstring begins with "Of": name what it describes, as in "Seed of the draw."'; exit 1; }
	cd build/tree && $(CURDIR)/$(BIN)/mypy -p vaebias --config-file $(CURDIR)/pyproject.toml
	cd build/tree && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml $(CURDIR)/tests/types/user.py
	cd build/tree && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml --no-cache --no-logo

develop: $(VENV)/tools ## an editable install: Python changes are seen at once, C++ ones on the next `make develop`
	$(PIP) install --constraint constraints.txt --editable .

docs: $(VENV)/docs tree ## README's pages and the API as a site, build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

browser: $(VENV)/tools ## look at a page in Chromium: messages, overflow, contrast, sliders, keyboard
	$(PIP) install --constraint constraints.txt --group browser
	$(BIN)/python -c 'import shutil; raise SystemExit(not any(map(shutil.which, ("chromium", "google-chrome", "chrome"))))' \
		|| $(BIN)/playwright install --with-deps chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/cli/test_report.py

docs-check: $(VENV)/tools ## run what README and docs show, at small settings
	VAEBIAS_DOCS=all OMP_NUM_THREADS=1 $(BIN)/pytest tests/docs

dist: $(VENV)/made ## sdist, and a wheel made of it, in dist/; the wheel is tried where there is no compiler
	$(PIP) install 'build>=1.2'
	@rm -rf build/lib* build/bdist* build/wheel dist
	VAEBIAS_CUDA=$${VAEBIAS_CUDA:-OFF} $(BIN)/python -m build .
	$(PYTHON) -m venv build/wheel
	env PATH=$(CURDIR)/build/wheel/bin $(CURDIR)/build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd build && env PATH=$(CURDIR)/build/wheel/bin vaebias doctor

wheels: $(VENV)/made ## wheels of every supported Python for this platform, in containers (needs Docker on Linux)
	$(PIP) install 'cibuildwheel>=2.22'
	$(BIN)/cibuildwheel --archs native --output-dir dist

bench: $(VENV)/tools ## every benchmark, and a table of ratios
	$(BIN)/python benchmarks/run.py

bench-quick: $(VENV)/tools ## the main sizes only, in under two minutes
	$(BIN)/python benchmarks/run.py --quick

cuda-report: $(VENV)/tools ## count what nvcc makes of the CUDA kernels: benchmarks/results/cuda.md (needs nvcc, no GPU)
	$(PIP) install --constraint constraints.txt nvidia-cuda-nvdisasm
	$(BIN)/python benchmarks/cuda_report.py --out benchmarks/results/cuda.md

gpu: $(VENV)/tools ## prove and time the CUDA kernels on this machine's GPU, part by part, in ten minutes
	$(BIN)/python benchmarks/gpu.py

compat: compat-oldest compat-newest ## the kernel tests on the oldest torch that pyproject.toml allows, and on the newest

compat-oldest: TORCH := torch==$(OLDEST_TORCH).*
compat-newest: TORCH := torch
compat-oldest compat-newest: $(VENV)/made
	@echo "== The kernel tests on $(TORCH)"
	$(PYTHON) -m venv build/$@
	build/$@/bin/python -m pip install --quiet 'pip>=25.1'
	VAEBIAS_CUDA=OFF build/$@/bin/python -m pip install --quiet '$(TORCH)' . --group test
	OMP_NUM_THREADS=1 build/$@/bin/pytest --numprocesses auto tests/ops

sanitize: $(VENV)/tools ## the kernel tests, CUDA emulated too, with the address and undefined-behaviour sanitizers
	VAEBIAS_SANITIZE=ON VAEBIAS_CUDA=OFF $(PIP) install --no-deps --upgrade --target build/sanitized .
	LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(CURDIR)/build/sanitized EMULATED_SANITIZE=address OMP_NUM_THREADS=1 \
		$(BIN)/pytest tests/ops tests/cuda_on_cpu -k "not compile" --ignore tests/cuda_on_cpu/test_cuda_report.py

races: $(VENV)/tools ## the CUDA kernels, emulated on the CPU, with the thread sanitizer (Linux)
	EMULATED_SANITIZE=thread $(BIN)/python tests/cuda_on_cpu/emulation.py
	EMULATED_SANITIZE=thread TSAN_OPTIONS=halt_on_error=1 LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libtsan.so)" \
		setarch --addr-no-randomize $(BIN)/python tests/cuda_on_cpu/races.py

tree: # the package as it is installed, with analysis/ in its place
	@rm -rf build/tree && mkdir -p build/tree && cp -r vaebias build/tree/vaebias && cp -r analysis build/tree/vaebias/analysis

clean: ## what the targets above made
	rm -rf build dist demo *.egg-info $(VENV) vaebias/_core*.so

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: vaebias needs Python 3.10 or newer; found $$($(PYTHON) --version 2>&1). Name one with PYTHON=..."; exit 1; }
	@command -v $${CXX:-c++} > /dev/null || \
		{ echo "make: no C++17 compiler was found ($${CXX:-c++}). Install one (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or set CXX."; exit 1; }
	@echo "== Making $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'pip>=25.1'
	@touch $@

$(VENV)/installed: $(VENV)/made $(SOURCES)
	@echo "== Installing vaebias and what it stands on into $(VENV) (constraints.txt); this builds the kernels"
	@rm -rf build/lib* build/bdist*
	$(PIP) install --constraint constraints.txt .
	@touch $@

$(VENV)/tools: $(VENV)/installed
	@echo "== Installing the tools for tests and lint"
	$(PIP) install --constraint constraints.txt --group test --group lint
	@touch $@

$(VENV)/docs: $(VENV)/made pyproject.toml constraints.txt
	@echo "== Installing the tools for the site"
	$(PIP) install --constraint constraints.txt --group docs
	@touch $@
