# The image of worker containers and of the service. Two stages: the first one installs, the second one gets only the
# finished virtual environment, so that neither pip nor a build tool nor a cache is in what runs.
#
# Everything installed is checked against a hash: what runs against requirements.lock, what builds the wheel
# against requirements-dev.lock. No BuildKit-only instruction is used: the classic builder works as well.
#
# In it: memsched with its faster loop, the service, tools for agents and traces (the extras "fast", "service", "mcp",
# "otel"), enough for Redis, Qdrant, the hashing embedder and any OpenAI-compatible server. Not in it: servers of its
# own (embedded://) and libraries that run models here. How to add those: docs/operations.md, under Docker.

ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /build

# Two environments: tools/ is thrown away with this stage; /opt/memsched has no pip and is copied as it stands.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/memsched

COPY requirements.lock ./
RUN tools/bin/pip --python /opt/memsched/bin/python install --no-compile --require-hashes -r requirements.lock

# The build backend and what it needs, from the lock that holds everything. Should it come to need more, pip
# stops here and names the missing package: with --require-hashes nothing unlisted is installed.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
      requirements-dev.lock > requirements-build.lock \
 && tools/bin/pip install --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY memsched/ memsched/
COPY workers/ workers/
# Bytecode is written here because the container's file system is read-only, and marked with a hash of its
# source, not with a time, so that two builds give the same files.
RUN tools/bin/python -m hatchling build --target wheel --directory dist \
 && tools/bin/pip --python /opt/memsched/bin/python install --no-compile --no-deps --no-index dist/*.whl \
 && /opt/memsched/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/memsched/lib


FROM ${PYTHON_IMAGE}

ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="memsched" \
      org.opencontainers.image.description="A memory scheduler for AI agents: replicated workers on Redis Streams" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A fixed number, so that the owner of a mounted folder can be set without looking into the image.
RUN groupadd --gid 10001 memsched \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin memsched \
 && install --directory --owner=memsched --group=memsched --mode=0700 /run/memsched

COPY --from=builder /opt/memsched /opt/memsched
# An image with handlers of your own starts FROM this one and copies them to /app, from where they are imported.
WORKDIR /app
COPY scripts/ scripts/

ENV PATH=/opt/memsched/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    MEMSCHED_LOG_FORMAT=json \
    MEMSCHED_LIVENESS_DIR=/run/memsched

USER 10001:10001

# Healthy is more than "a process exists": every worker's read loop has had an answer from Redis lately.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 CMD ["memsched", "live"]

# Workers stop on SIGTERM: they finish or hand back what is running. No init is in the image: the supervisor waits
# for the processes it starts. docker-compose.yml and `docker run --init` add Docker's own (it says there why).
STOPSIGNAL SIGTERM
CMD ["python", "-m", "workers"]
