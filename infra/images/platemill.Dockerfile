# The flow, the nodes of Ray and Prefect's worker: one image, so that they are always of one version.
#
#   docker build --file infra/images/platemill.Dockerfile --tag platemill:0.1.0 .
FROM python:3.11-slim-bookworm

# KubeRay's probes ask with wget. Debian keeps one version at a time, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home platemill

WORKDIR /opt/platemill
COPY pyproject.toml README.md LICENSE ./
COPY infra/constraints/main.txt infra/constraints/
COPY src src
RUN pip install --no-cache-dir --constraint infra/constraints/main.txt '.[main,kubernetes]'

COPY feature_repo feature_repo
COPY flows flows
COPY model_repository model_repository
COPY ray_jobs ray_jobs
COPY warehouse warehouse

# The edges are found by name, from whatever folder Ray and Prefect start a process in.
ENV PYTHONPATH=/opt/platemill \
    PLATEMILL_PROJECT=/opt/platemill \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0

USER 1000
CMD ["platemill", "--help"]
