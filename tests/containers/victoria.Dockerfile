# VictoriaMetrics from Debian, which stands in for InfluxDB: see docker/compose.victoria.yaml.
ARG BASE=debian:12-slim
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends victoria-metrics wget \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 1000 --group 1000 /data
USER 1000:1000
ENTRYPOINT ["victoria-metrics"]
