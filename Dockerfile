# syntax=docker/dockerfile:1
# The service alone: locked wheels, its code and the pinned model. No DVC, no training library, no compiler.
# `make image` fetches and checks the model, then builds it; equal input gives equal layers.
# `--target dask` is the same with Dask beside it: scheduler and workers, and the client that has files scored by them.
ARG PYTHON=3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM python:${PYTHON} AS wheels
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/serve.txt .
RUN python -m venv --without-pip /opt/batchyield \
 && python -m pip --python /opt/batchyield/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes -r serve.txt \
 && find /opt/batchyield -depth -type d \( -name tests -o -name test -o -name __pycache__ \) -exec rm -rf {} +
COPY src/batchyield /opt/batchyield/app/src/batchyield
COPY api /opt/batchyield/app/api
COPY dvc.lock /opt/batchyield/app/dvc.lock
COPY data/model /opt/batchyield/app/data/model
# Byte code that is valid by the source's hash, and one date for every file and folder: no clock is left in the layer.
# What the service writes is below /var/lib/batchyield, in folders that are open to whichever user it runs as.
RUN python -m compileall -q --invalidation-mode unchecked-hash -j 1 /opt/batchyield/lib /opt/batchyield/app \
 && rm -f /opt/batchyield/app/data/model/.gitignore \
 && mkdir -p /image/opt /image/var/lib/batchyield \
 && mv /opt/batchyield /image/opt/batchyield \
 && mkdir -m 1777 /image/var/lib/batchyield/journal /image/var/lib/batchyield/keys /image/var/lib/batchyield/serving \
 && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

FROM wheels AS dask-wheels
COPY requirements/scale.txt .
RUN python -m pip --python /image/opt/batchyield/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes -r scale.txt \
 && find /image/opt/batchyield/lib -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash -j 1 -s /image -p / /image/opt/batchyield/lib \
 && rm -rf /image/opt/batchyield/app/api \
 && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

FROM python:${PYTHON} AS dask
ARG REVISION=unknown
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="batchyield-dask" \
      org.opencontainers.image.description="Dask scheduler and workers that answer with the model of batchyield" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=dask-wheels /image /
ENV PATH=/opt/batchyield/bin:$PATH \
    PYTHONPATH=/opt/batchyield/app/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DASK_TEMPORARY_DIRECTORY=/tmp
WORKDIR /opt/batchyield/app
USER 10001:10001
ENTRYPOINT ["python", "-m", "dask"]
CMD ["--help"]

FROM python:${PYTHON}
ARG REVISION=unknown
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="batchyield" \
      org.opencontainers.image.description="A yield model served with the pin it was built from" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=wheels /image /
ENV PATH=/opt/batchyield/bin:$PATH \
    PYTHONPATH=/opt/batchyield/app/src:/opt/batchyield/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    BATCHYIELD_JOURNAL=/var/lib/batchyield/journal/journal.sqlite \
    BATCHYIELD_REVISION=${REVISION} \
    BATCHYIELD_MODEL_VERSION=${VERSION}
WORKDIR /opt/batchyield/app
USER 10001:10001
# On Fargate, a folder that a task may write is one of these, with the rights that it has here.
VOLUME ["/tmp", "/var/lib/batchyield/journal", "/var/lib/batchyield/keys", "/var/lib/batchyield/serving"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
# Beyond loopback the service starts only with keys: BATCHYIELD_API_KEYS_FILE.
ENTRYPOINT ["python", "-m", "api"]
CMD ["--host", "0.0.0.0", "--port", "8000"]
