# `make demo` and `make test` work in a fresh clone on a machine with Python and pip.

PYTHON ?= python3
# `full` has TensorFlow and its range coder (Python 3.11 and 3.12), `modern` the newest JAX.
SET ?= $(shell $(PYTHON) -c 'import sys; print("full" if sys.version_info < (3, 13) else "modern")')
VENV ?= $(if $(filter full,$(SET)),.venv,.venv-modern)
EXTRAS = $(if $(filter full,$(SET)),tfc$(comma))dev$(comma)docs
BIN = $(VENV)/bin
comma = ,
# Most of the tests' time is compiling, on one core. A process takes up to 6 GB.
WORKERS ?= 2
SPREAD = -n $(WORKERS) --dist loadfile

.PHONY: install demo test test-fast test-checked lint docs results bench ship-codec ship-pim clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints/$(SET).txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints/$(SET).txt -e '.[$(EXTRAS)]'
	touch $@

# Trains a small PIM on two packaged clips, scores it beside its untrained self, compresses
# a photograph beside JPEG, and lets all metrics rank eight distortions of it.
demo: install
	$(BIN)/python train.py --config=configs/pim.py:demo --workdir=runs/demo
	$(BIN)/python eval.py --config=configs/eval_behaviour.py:demo \
	    --config.metric=ssim,runs/demo --config.out=runs/demo/behaviour \
	    --config.data.crop=32
	$(BIN)/python eval.py --config=configs/eval_photograph.py \
	    --config.report=runs/demo/report.html --config.out=runs/demo/photograph
	$(BIN)/python eval.py --config=configs/eval_ranking.py --config.metric=all,runs/demo \
	    --config.report=runs/demo/report.html --config.out=runs/demo/ranking
	@echo "Curves and pictures: runs/demo/report.html   Tables: runs/demo/behaviour/"

# ARGS goes to pytest: make test ARGS='-k range_coder'
test: install
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

test-fast: install
	$(BIN)/python -m pytest $(SPREAD) -m 'not slow' $(ARGS)

# Annotations of shapes and types are checked at every call, and warnings are errors.
test-checked: install
	CHECK_ANNOTATIONS=1 $(BIN)/python -m pytest $(SPREAD) -W error -m 'not slow' $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into build/docs. Warnings are errors; --keep-going shows all of them.
docs: install
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . build/docs

# docs/results.md from its template and docs/results/*.json, see docs/make_results.py.
results: install
	$(BIN)/python docs/make_results.py

# With COMPRESSAI_PYTHON=..., a Python that has CompressAI, its codec is timed as well; with
# METRICS_PYTHON=..., one that has piq, lpips, pytorch-msssim and DISTS-pytorch, theirs.
bench: install
	$(BIN)/python -m tests.benchmarks.speed --out=runs/bench.json
	$(BIN)/python -m tests.benchmarks.range_coder_speed --out=runs/range_coder.json
	$(BIN)/python -m tests.benchmarks.codec_speed --out=runs/codec_speed.json
	$(BIN)/python -m tests.benchmarks.metric_speed --out=runs/metric_speed.json

# Makes the averaged weights of a run those that ship:
# make ship-codec RUN=runs/codec NAME=ms128
ship-codec: install
	$(BIN)/codec-jax freeze $(RUN) --name $(NAME) --force \
	    --out codec_jax/packaged/$(NAME).npz
	cd codec_jax/packaged && sha256sum $(NAME).npz > $(NAME).sha256

# Makes the averaged weights of a run those that ship:
# make ship-pim RUN=runs/pim NAME=pim-1-small (the newest step, or STEP=...)
ship-pim: install
	rm -rf pim_jax/packaged/$(NAME)
	$(BIN)/pim-jax convert $(RUN) pim_jax/packaged/$(NAME) --half $(addprefix --step ,$(STEP))
	cd pim_jax/packaged/$(NAME) && sha256sum weights.npz > weights.sha256

clean:
	rm -rf .venv .venv-modern build *.egg-info
