# One image for both processes: `gateway` (the default) and `consumer`, and every other command of mcp-queue.
# The Python is the one that the tests run on, pinned exactly; a new one is a change that is reviewed like any other.
FROM python:3.11.15-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Without pip in it, since nothing is installed into it later.
RUN python -m venv --without-pip /opt/mcp-queue

# The dependencies first: they change seldom, so that most builds take this layer from the cache. Wheels only: an
# archive of sources would run its own code here, and need a compiler.
COPY requirements/app.lock requirements/
RUN pip --python /opt/mcp-queue/bin/python install --require-hashes --only-binary=:all: -r requirements/app.lock

COPY pyproject.toml README.md LICENSE ./
COPY app app
# By the setuptools of the lock: an isolated build would fetch one whose hash nobody checked. Then it is not needed.
RUN pip --python /opt/mcp-queue/bin/python install --no-build-isolation --no-deps --no-index . \
 && pip --python /opt/mcp-queue/bin/python uninstall --yes setuptools


FROM python:3.11.15-slim-bookworm

# The version of pyproject.toml: a release changes both.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mcp-queue" \
      org.opencontainers.image.description="An HTTP task queue in front of Amazon SQS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# By number, so that Kubernetes can see that it is not root. The directory is the only one that is ever written to.
RUN groupadd --gid 10001 mcp-queue \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/mcp-queue --shell /usr/sbin/nologin mcp-queue \
 && install --directory --owner=10001 --group=10001 /var/lib/mcp-queue

COPY --from=build /opt/mcp-queue /opt/mcp-queue
COPY deploy/healthcheck.py /opt/mcp-queue/healthcheck.py

# A container is reached from outside it, so that both listen on every address of it. The gateway then starts only with
# API keys, or with GATEWAY_AUTH=none where something in front of it decides who may come in.
ENV PATH=/opt/mcp-queue/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    CONSUMER_HOST=0.0.0.0 \
    QUEUE_DATA_DIR=/var/lib/mcp-queue \
    LOG_FORMAT=json

# The label says what the program says.
RUN test "$(mcp-queue --version)" = "$VERSION"

# Writable also under `docker run --read-only`.
VOLUME /var/lib/mcp-queue
WORKDIR /var/lib/mcp-queue
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["python", "/opt/mcp-queue/healthcheck.py"]
ENTRYPOINT ["mcp-queue"]
CMD ["gateway"]
