# In the place of images from a registry, which may not be at hand: the same programs from Debian, called the same way.
ARG DEBIAN=trixie
FROM docker.io/library/debian:${DEBIAN}-slim AS redis
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
WORKDIR /data
RUN chown redis:redis /data
USER redis

FROM docker.io/library/debian:${DEBIAN}-slim AS prometheus
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/*
WORKDIR /prometheus
RUN chown nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
