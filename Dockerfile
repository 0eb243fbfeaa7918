# The service and the batch application, for a driver on its own (local[*], or a client of a Spark cluster).
#
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:... -t qsr-ingest .
#   docker run --rm -e LAKE_BUCKET=... -e AWS_REGION=... -e QSR_STREAM=... qsr-ingest
#
# Its HTTP endpoint listens inside the container only: QSR_METRICS_HOST=0.0.0.0 and QSR_METRICS_TOKEN (docs/live-page.md) open it.
# Nothing but /tmp is written to, so it runs with a root that is read-only and a /tmp that is a volume.
#
# PYTHON_IMAGE should name a digest, so that the same image is built tomorrow; Python packages and jars are pinned by hash here.
# Bookworm, because it has Java 17, which Spark 4.1 and S3A are tried with.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/qsr-ingest
# pyspark comes as source only. What builds it, and our package below, is pinned by hash like the rest, and leaves after that.
COPY deploy/build.txt deploy/image.txt deploy/
RUN /opt/qsr-ingest/bin/pip install --require-hashes --requirement deploy/build.txt \
    && /opt/qsr-ingest/bin/pip install --require-hashes --no-build-isolation --requirement deploy/image.txt
# What a checkpoint on S3 needs beside Spark (docs/s3.md).
COPY deploy/maven/ deploy/maven/
RUN python deploy/maven/fetch.py deploy/maven/s3a.sha256 /opt/s3a
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY streaming_app/ streaming_app/
COPY batch_app/ batch_app/
RUN /opt/qsr-ingest/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/qsr-ingest/bin/pip install --no-deps /wheels/*.whl \
    && /opt/qsr-ingest/bin/pip uninstall --yes setuptools
# A Spark home without the zipped copy of pyspark, which user 10001 could not make (streaming_app/runtime/spark_home.py).
RUN /opt/qsr-ingest/bin/python -c "import os; from streaming_app.runtime.spark_home import ensure_spark_home; ensure_spark_home(os.environ)"

FROM ${PYTHON_IMAGE}
# hadolint ignore=DL3008 # the digest of PYTHON_IMAGE pins the base; Java's security updates are wanted
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home qsr
# A base may come without bytecode of Python's own library, which user 10001 could not write: 0.4 s of CPU in each process, not 0.1.
RUN python -c "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=1)"
COPY --from=build /opt/qsr-ingest /opt/qsr-ingest
COPY --from=build /opt/s3a /opt/s3a
COPY conf/ /app/conf/
# Spark's launcher puts SPARK_DIST_CLASSPATH behind its own jars. All cores of the container, and four tries of a task, unless
# QSR_SPARK_MASTER names a cluster; Spark spills to SPARK_LOCAL_DIRS.
ENV PATH=/opt/qsr-ingest/bin:$PATH PYTHONUNBUFFERED=1 SPARK_DIST_CLASSPATH=/opt/s3a/* QSR_METRICS_PORT=9464 \
    QSR_SPARK_MASTER=local[*,4] SPARK_LOCAL_DIRS=/tmp
WORKDIR /app
USER 10001
EXPOSE 9464
# Alive is not ready: a service that still recovers must not be killed for it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"QSR_METRICS_PORT\"]}/healthz', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "python", "-m"]
CMD ["streaming_app", "run", "--config", "conf/production.yaml"]
