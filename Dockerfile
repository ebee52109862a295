# The service alone: locked wheels, its code and the pinned model. No DVC, no training library, no compiler.
# `make image` fetches and checks the model, then builds it; equal input gives equal layers.
# `--target tools` has DVC and the training libraries beside it, for the commands that read a checkout.
# `--target dask` is the same with Dask beside it: scheduler and workers, and the client that has files scored by them.
ARG PYTHON=3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

# Two layers: the packages, which change with a lock, and the code with the model, some 4 MB. In each, byte code is valid by
# the source's hash, modes do not depend on the builder's umask, and every file has one date: equal input, equal bytes.
FROM python:${PYTHON} AS wheels
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/serve.txt .
RUN python -m venv --without-pip /opt/batchyield \
 && python -m pip --python /opt/batchyield/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes -r serve.txt \
 && find /opt/batchyield -depth -type d \( -name tests -o -name test -o -name __pycache__ \) -exec rm -rf {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash -j 0 /opt/batchyield/lib \
 && mkdir -p /image/opt && mv /opt/batchyield /image/opt/batchyield \
 && chmod -R u=rwX,go=rX /image && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

FROM python:${PYTHON} AS app
WORKDIR /opt/batchyield/app
COPY src/batchyield src/batchyield
COPY api api
COPY dvc.lock .
COPY data/model data/model
COPY data/metrics/confidence.json data/metrics/confidence.json
# What the service writes is below /var/lib/batchyield, in folders that are open to whichever user it runs as.
RUN rm -f data/model/.gitignore \
 && if [ -n "$(find . -type l)" ]; then echo 'data/model holds links into the DVC cache; build with: make image' >&2; exit 1; fi \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/batchyield/app \
 && mkdir -p /image/opt/batchyield /image/var/lib/batchyield/journal /image/var/lib/batchyield/keys /image/var/lib/batchyield/serving \
 && mv /opt/batchyield/app /image/opt/batchyield/app \
 && chmod -R u=rwX,go=rX /image && chmod 1777 /image/var/lib/batchyield/* \
 && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

FROM wheels AS dask-wheels
COPY requirements/scale.txt .
RUN python -m pip --python /image/opt/batchyield/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes -r scale.txt \
 && find /image/opt/batchyield/lib -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash -j 0 -s /image -p / /image/opt/batchyield/lib \
 && chmod -R u=rwX,go=rX /image && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

FROM wheels AS tools-wheels
COPY requirements/tools.txt .
RUN python -m pip --python /image/opt/batchyield/bin/python install --no-compile --no-deps --require-hashes -r tools.txt \
 && chmod -R u=rwX,go=rX /image && find /image -exec touch -h -d '2020-01-01T00:00:00Z' {} +

# The commands that need git, DVC or the training libraries, on a checkout mounted at /checkout.
FROM python:${PYTHON} AS tools
# Any git of this release does: nothing is served from this image.
# hadolint ignore=DL3008
RUN command -v git || { apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*; }
COPY --from=tools-wheels /image /
COPY --from=app /image /
COPY --chmod=755 deploy/compose/tools.sh /usr/local/bin/batchyield
ENV PATH=/opt/batchyield/bin:$PATH \
    PYTHONPATH=/opt/batchyield/app/src:/opt/batchyield/app \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
ENTRYPOINT ["batchyield"]
CMD ["--help"]

FROM python:${PYTHON} AS dask
ARG REVISION=unknown
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="batchyield-dask" \
      org.opencontainers.image.description="Dask scheduler and workers that answer with the model of batchyield" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=dask-wheels /image /
COPY --from=app /image /
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
COPY --from=app /image /
ENV PATH=/opt/batchyield/bin:$PATH \
    PYTHONPATH=/opt/batchyield/app/src:/opt/batchyield/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    BATCHYIELD_IMAGE=1 \
    BATCHYIELD_JOURNAL=/var/lib/batchyield/journal/journal.sqlite \
    BATCHYIELD_REVISION=${REVISION} \
    BATCHYIELD_MODEL_VERSION=${VERSION}
WORKDIR /opt/batchyield/app
USER 10001:10001
# On Fargate, a folder that a task may write is one of these, with the rights that it has here.
VOLUME ["/tmp", "/var/lib/batchyield/journal", "/var/lib/batchyield/keys", "/var/lib/batchyield/serving"]
EXPOSE 8000
# Without urllib, which would follow the proxy that Docker puts into every container of a host behind one.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-S", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
# Beyond loopback the service starts only with keys: BATCHYIELD_API_KEYS_FILE.
ENTRYPOINT ["python", "-m", "api"]
CMD ["--host", "0.0.0.0", "--port", "8000"]
