# Two images: `pocketbase` (the server with our hooks and migrations) and `sidecar`. Neither holds a secret or a build tool.
# Base images by version. Each can be replaced, by a mirror of yours or a digest: --build-arg NODE_IMAGE=registry.example/node@sha256:…
ARG NODE_IMAGE=node:24.21.0-bookworm-slim
ARG RUNTIME_IMAGE=debian:12.12-slim
# Where /pocketbase comes from: the stage below, or an image that holds a binary of yours.
ARG POCKETBASE_IMAGE=pocketbase-release

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
# The slim images have no root certificates; PocketBase needs them for mail, OAuth2 and S3. These are Mozilla's, out of Node.
RUN node -p "require('node:tls').rootCertificates.join('\n')" > /ca-certificates.crt

FROM source AS pocketbase-release
RUN node scripts/fetch-pocketbase.ts /pocketbase

FROM ${POCKETBASE_IMAGE} AS pocketbase-binary

FROM ${NODE_IMAGE} AS node

FROM ${RUNTIME_IMAGE} AS pocketbase
RUN install -d -m 0700 -o 10001 -g 10001 /pb/pb_data && install -d /pb/pb_public
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
USER 10002:10002
WORKDIR /sidecar
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080
EXPOSE 8080
# A small young generation: four streams of 1 GiB each hold 113 MB instead of 192.
ENTRYPOINT ["/usr/local/bin/node", "--max-semi-space-size=1", "--max-old-space-size=128", "--enable-source-maps", "/sidecar/main.js"]
