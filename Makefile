# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` set up everything they need in .venv, pinned by constraints.txt. `make test-newest` and
# `make test-oldest` set up other TensorFlows, with any PYTHON that has them, in build/venvs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := train,runtimes,device,hardware,dev
PARALLEL ?= -n auto --maxprocesses 4 --dist worksteal
# What another TensorFlow can change: layers, Keras 3, training, saving, conversion. And the notebook, where it is newest.
TRAINING_TESTS ?= tests/keras_rat -m "newest or not (arithmetic or slow)"
test-newest: TRAINING_TESTS += tests/test_docs.py::test_tutorial_ends_on_the_board

export TF_CPP_MIN_LOG_LEVEL ?= 3
export CUDA_VISIBLE_DEVICES ?= -1
# Hundreds of tests start Python: without bytecode each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-slow test-newest test-oldest constraints data bazel-test docs fuzz c-graphs hardware-test keras-applications tfmot-tests lint typecheck format package clean

help:
	@echo "make demo        train, narrow, export and verify on real digits; results in build/demo"
	@echo "make test        run the tests, but for the slow ones"
	@echo "make test-slow   run the others: whole suites, programs of the documentation, clusters, the rest of long sweeps (an hour)"
	@echo "make test-newest PYTHON=python3.12  run the tests of training with the newest TensorFlow (half an hour)"
	@echo "make test-oldest PYTHON=python3.11  the same with the oldest TensorFlow that keras_rat takes"
	@echo "make constraints  let uv pin the newest and the oldest set anew, from the package index"
	@echo "make data        fetch public models and data for tests and benchmarks into build/data"
	@echo "make bazel-test  build the C kernels and a narrowed model with Bazel, and run both"
	@echo "make docs        build the documentation in build/docs"
	@echo "make fuzz        try 100,000 damaged models on the exporter (about 20 minutes on two cores)"
	@echo "make c-graphs    compile and run 1,000 random small models as C, against the simulator (half an hour)"
	@echo "make hardware-test  hold the Verilog against the simulator: all vectors, proofs and networks (half an hour)"
	@echo "make keras-applications  quantise, convert and check the networks of both Keras's applications (an hour)"
	@echo "make tfmot-tests TFMOT=FOLDER  run tfmot's own tests of quantisation, of a checkout, on keras_rat (half an hour on two idle cores)"
	@echo "make lint        run ruff and the type checker"
	@echo "make typecheck   hold the packages and calls of their public API against the annotations (mypy)"
	@echo "make format      let ruff format and fix"
	@echo "make package     build and check the source distribution and the wheel in build/dist"
	@echo "make clean       remove .venv and build, fetched data included"

# --no-compile: most modules are never imported, and the others compile when they are; it takes half the time.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip check
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo

test: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m slow

test-newest test-oldest: test-%: build/venvs/$(notdir $(PYTHON))-%/.installed
	$(<D)/bin/python -m pytest $(PARALLEL) $(TRAINING_TESTS)

# Not editable: the tests run in the checkout, whose packages come first.
build/venvs/$(notdir $(PYTHON))-%/.installed: pyproject.toml constraints-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade -c constraints-$*.txt pip setuptools wheel
	$(@D)/bin/python -m pip install -c constraints-$*.txt '.[$(EXTRAS)]'
	$(@D)/bin/python -m pip check
	@touch $@

UV ?= uv
PIN = $(UV) pip compile --quiet --universal --upgrade --no-annotate --python-version 3.10 \
	--custom-compile-command 'make constraints' $(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) pyproject.toml
comma := ,

constraints:
	$(PIN) --output-file constraints-newest.txt
	echo 'tensorflow==2.16.*' | $(PIN) --constraint - --output-file constraints-oldest.txt

data: $(STAMP)
	$(BIN)/python -m benchmarks.fetch_data

bazel-test: $(STAMP)
	bazel test //...

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz

c-graphs: $(STAMP)
	C_GRAPHS=1000 $(BIN)/python -m pytest -q tests/tflm_export/test_c_random_graphs.py

hardware-test: $(STAMP)
	HARDWARE_TESTS=1 $(BIN)/python -m pytest -q tests/hardware tests/tflm_export/rtl

keras-applications: $(STAMP)
	$(BIN)/python -m benchmarks.applications --output build/applications

TFMOT_TESTS = quantize quantize_functional quantize_integration quantize_models default_8bit/quantize_numerical

tfmot-tests: $(STAMP)
	$(BIN)/python -m pytest -q -W default -p no:cacheprovider -p tests.helpers.tfmot_stand_in --import-mode=importlib \
		--rootdir $(TFMOT) \
		$(TFMOT_TESTS:%=$(TFMOT)/tensorflow_model_optimization/python/core/quantization/keras/%_test.py)

lint: typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

package: $(STAMP)
	rm -rf build/dist
	$(BIN)/python -m build --no-isolation --outdir build/dist
	$(BIN)/twine check --strict build/dist/*

clean:
	rm -rf $(VENV) build
