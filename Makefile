# make demo, make test and make test-quick each set up everything they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file's tests stay in one process: they share what it takes long to make. Files come in their order, because by
# default those of few tests come last, the longest test among them, for which the other process would wait.
PYTEST := $(BIN)/pytest --quiet -n 2 --dist loadfile --no-loadscope-reorder
READY := $(VENV)/.ready

.PHONY: demo test test-quick lint setup clean

setup: $(READY)

# The constraints pin what was tested; torch above all, whose newest build may bring gigabytes of CUDA.
$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,onnx,openvino,train,export,report,heif,serve,client,encryption,video,postgres,milvus,ray,dev]'
	touch $@

demo: $(READY)
	$(BIN)/faceid demo $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(SERVE),--serve)

test: lint
	$(PYTEST)

# Without the tests that take over two seconds.
test-quick: $(READY)
	$(PYTEST) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

clean:
	rm -rf $(VENV) *.egg-info
