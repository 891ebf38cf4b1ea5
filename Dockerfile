# The two images of Penstock: `operator` and `worker`.
#
# The context is a folder with
#   bin/penstock-operator, bin/penstock-worker   compiled for the base's C library
#   rootfs/                                      what the base lacks: nothing for distroless; for `scratch` the loader,
#                                                the shared libraries, root certificates, /etc/passwd and /etc/group
# The base needs no shell.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BASE} AS base
COPY rootfs/ /
ARG VERSION=0.1.0
LABEL org.opencontainers.image.source="https://github.com/penstock-dev/penstock" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 65532:65532

FROM base AS operator
LABEL org.opencontainers.image.title="penstock-operator" \
      org.opencontainers.image.description="Makes Kafka topics and workers of KafkaTopic and EventPipeline objects"
COPY bin/penstock-operator /usr/local/bin/penstock-operator
ENTRYPOINT ["/usr/local/bin/penstock-operator"]

FROM base AS worker
LABEL org.opencontainers.image.title="penstock-worker" \
      org.opencontainers.image.description="Runs the processor of an EventPipeline"
COPY bin/penstock-worker /usr/local/bin/penstock-worker
ENTRYPOINT ["/usr/local/bin/penstock-worker"]
