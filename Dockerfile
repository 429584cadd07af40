FROM python:3.11-slim AS build

WORKDIR /src
# Everything that is installed comes as a wheel: no compiler is needed, and none is wanted.
ENV PIP_ONLY_BINARY=:all: PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/aragora-redis
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip --python /opt/aragora-redis/bin/python install \
    --constraint constraints.txt '.[aws,azure,cli,gateway,gcp,kubernetes]'

FROM python:3.11-slim

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aragora-redis" \
    org.opencontainers.image.description="Rate limits, token revocation, sessions and circuit breakers in Redis that stay correct through failovers" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"

# What installs packages is of use to intruders alone.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip
COPY --from=build /opt/aragora-redis /opt/aragora-redis
# A new volume that is mounted here has the same owner; the outbox is made in it.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/aragora-redis

# 0.0.0.0 is all of the container; the gateway then demands tokens.
ENV PATH=/opt/aragora-redis/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ARAGORA_HOST=0.0.0.0 \
    ARAGORA_PORT=8080
EXPOSE 8080
# A number, because Kubernetes cannot tell of a name that it is not root.
USER 10001:10001

# The gateway, not its Redis: it goes on while Redis is away, and a restart would lose what it knows.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as http; http.urlopen(f\"http://127.0.0.1:{os.environ['ARAGORA_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["aragora-redis"]
CMD ["serve"]
