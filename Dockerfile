# Three images: `pocketbase` (the server with our hooks and migrations), `sidecar`, and `trivy-db` (the sidecar with what builds the
# Trivy database). None holds a secret or a build tool.
# Base images by version. Each can be replaced, by a mirror of yours or a digest: --build-arg NODE_IMAGE=registry.example/node@sha256:…
ARG NODE_IMAGE=node:24.21.0-bookworm-slim
ARG RUNTIME_IMAGE=debian:12.12-slim
# Where /pocketbase comes from: the stage below, or an image that holds a binary of yours.
ARG POCKETBASE_IMAGE=pocketbase-release
# Where /trivy-db, /bbolt and, for the canary scan before a build is published, /trivy come from.
ARG TRIVY_TOOLS_IMAGE=trivy-tools
ARG GO_IMAGE=golang:1.26.8-bookworm
ARG TRIVY_IMAGE=aquasec/trivy:0.74.0

FROM ${NODE_IMAGE} AS source
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# No package needs its install script here: this image is the Node they would fetch.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY scripts scripts

FROM source AS build
COPY pb_hooks pb_hooks
COPY pb_migrations pb_migrations
COPY sidecar sidecar
RUN node scripts/build.ts
# The slim images have no root certificates; PocketBase needs them for mail, OAuth2 and S3. These are Mozilla's, out of Node,
# and those of an own authority that NODE_EXTRA_CA_CERTS of NODE_IMAGE names.
RUN node -p "require('node:tls').getCACertificates('default').join('\n')" > /ca-certificates.crt

FROM source AS pocketbase-release
RUN node scripts/fetch-pocketbase.ts /pocketbase

FROM ${POCKETBASE_IMAGE} AS pocketbase-binary

FROM ${NODE_IMAGE} AS node

FROM ${RUNTIME_IMAGE} AS pocketbase
RUN install -d -m 0700 -o 10001 -g 10001 /pb/pb_data /pb/av_journal && install -d /pb/pb_public
COPY --from=build /ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=pocketbase-binary /pocketbase /usr/local/bin/pocketbase
COPY --from=build /src/build/pb_hooks /pb/pb_hooks
COPY --from=build /src/build/pb_migrations /pb/pb_migrations
COPY --chmod=0555 deploy/pocketbase/entrypoint.sh /usr/local/bin/pocketwarden-entrypoint
USER 10001:10001
WORKDIR /pb
EXPOSE 8090
ENTRYPOINT ["/usr/local/bin/pocketwarden-entrypoint"]

FROM ${RUNTIME_IMAGE} AS sidecar
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=build /src/build/sidecar /sidecar
RUN install -d -m 0700 -o 10002 -g 10002 /var/lib/pocketwarden/console /var/lib/pocketwarden/trivy-db
USER 10002:10002
WORKDIR /sidecar
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080
EXPOSE 8080
# A small young generation: four streams of 1 GiB each hold 113 MB instead of 192.
ENTRYPOINT ["/usr/local/bin/node", "--max-semi-space-size=1", "--max-old-space-size=128", "--enable-source-maps", "/sidecar/main.js"]

FROM ${TRIVY_IMAGE} AS trivy

FROM ${GO_IMAGE} AS go

FROM source AS trivy-tools
COPY --from=go /usr/local/go /usr/local/go
COPY --from=build /ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# trivy-db asks Go for the standard library whenever it starts; the script puts the answer beside it.
RUN node scripts/fetch-trivy-tools.ts /tools
COPY --from=trivy /usr/local/bin/trivy /tools/trivy

FROM ${TRIVY_TOOLS_IMAGE} AS trivy-tools-binaries

FROM sidecar AS trivy-db
USER 0:0
# The vulnerability lists are git repositories.
RUN apt-get update && apt-get install -y --no-install-recommends git ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=trivy-tools-binaries /tools/ /usr/local/bin/
ENV TRIVY_DB_BIN=/usr/local/bin/trivy-db BBOLT_BIN=/usr/local/bin/bbolt TRIVY_BIN=/usr/local/bin/trivy
# The one place for caches and settings of git and Trivy in a container whose root is read-only.
ENV HOME=/tmp
USER 10002:10002
