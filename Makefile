# make help lists the targets. PYTHON chooses the interpreter that .venv is made with (3.10 to 3.13).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

ARGS ?=
THREE = 0,1,2
HIGH = 0.9,0.95,0.98,0.99
# As many processes as there are cores, but no more than 8. A file stays in one of them, for its costly fixtures; files
# are given out in the order of tests/conftest.py, the longest first.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo tour test test-all fuzz lint reproduce-table4 mnist-lenet figures clean

help:            ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*##/  make \1/p' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

install: $(STAMP)       ## make .venv and install the package into it

demo: $(STAMP)          ## train six methods at sparsity .9 on built-in real data; table, figure and report.html in outputs/demo
	$(BIN)/lpss-train --multirun experiment=quickstart output=outputs/demo \
	    method=dense,static,set,rigl,snip,lpss sparsity=0.9 seed=0,1,2 $(ARGS)
	$(BIN)/lpss-table outputs/demo --output outputs/demo/table.md --figure outputs/demo/table.png
	$(BIN)/lpss-report outputs/demo --output outputs/demo/report.html
	@cat outputs/demo/table.md

tour: $(STAMP)          ## own csv -> sweep -> table, report -> predictions -> export, in three minutes; files in outputs/tour
	$(BIN)/python scripts/tour.py $(ARGS)

test: $(STAMP)          ## run the tests, except the longest: under five minutes on two cores
	$(PYTEST) $(ARGS)

test-all: $(STAMP)      ## run all tests, with the long ones and fuzz
	$(PYTEST) -m "" $(ARGS)

fuzz: $(STAMP)          ## try wrong settings and files by the hundred: a minute and a half
	$(PYTEST) -m fuzz $(ARGS)

lint: $(STAMP)          ## check rules and layout with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

reproduce-table4: $(STAMP)  ## the paper's Table 4 (TABLES=table4 DATASETS=letter,dna METHODS=lpss,rigl SPARSITIES=0.9 SEEDS=0,1,2 choose a part)
	$(BIN)/python scripts/reproduce_table4.py $(foreach part,TABLES DATASETS METHODS SPARSITIES SEEDS IMAGES,\
	    $(if $($(part)),--$(shell echo $(part) | tr A-Z a-z) $($(part)))) $(ARGS)

mnist-lenet: $(STAMP)   ## all methods on LeNet-300-100 and on MLPs at .99, beside published figures; some hours (METHODS=set,lpss SEEDS=0 choose a part)
	$(BIN)/python scripts/reproduce_table4.py --tables mnist_lenet --output outputs/mnist_lenet \
	    --methods $(or $(METHODS),all) --sparsities $(or $(SPARSITIES),$(HIGH)) --seeds $(or $(SEEDS),$(THREE)) train.backend=auto $(ARGS)
	$(BIN)/python scripts/reproduce_table4.py --tables cht_mlp --output outputs/mnist_lenet \
	    --methods $(or $(METHODS),all) --sparsities 0.99 --seeds $(or $(SEEDS),$(THREE)) train.backend=auto $(ARGS)

figures: $(STAMP)       ## the paper's figures and claims, in outputs/figures (FIGURES="fig3 fig5" chooses)
	$(BIN)/python scripts/convergence.py
	$(BIN)/lpss-figures $(or $(FIGURES),all) $(ARGS)

clean:           ## remove .venv and caches, not outputs
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist *.egg-info
