#!/bin/sh
# Migrates, creates the superuser and the scanner's agent once, then becomes PocketBase. Words after the image's name are further flags of `serve`.
set -eu

# Uploads that a kill cut off; nobody else writes here.
rm -rf /tmp/multipart-*

serve_flags="$*"
# hooksPool: a gated download holds a hook runtime until its last byte, so there must be more of them than downloads at once.
set -- --dir=/pb/pb_data --hooksDir=/pb/pb_hooks --migrationsDir=/pb/pb_migrations --publicDir=/pb/pb_public \
  --dev=false --hooksWatch=false --automigrate=false "--hooksPool=${HOOKS_POOL:-200}"

pocketbase migrate up "$@"
if [ -n "${POCKETBASE_SUPERUSER_EMAIL:-}" ]; then
  # Changes nothing when that superuser exists, so tokens in use stay good.
  pocketbase av-superuser --email "$POCKETBASE_SUPERUSER_EMAIL" --password-file "$POCKETBASE_SUPERUSER_PASSWORD_FILE" "$@"
fi
if [ -n "${POCKETBASE_AGENT_EMAIL:-}" ]; then
  pocketbase av-agent --email "$POCKETBASE_AGENT_EMAIL" --password-file "$POCKETBASE_AGENT_PASSWORD_FILE" "$@"
fi
# shellcheck disable=SC2086 # flags are words
exec pocketbase serve --http=0.0.0.0:8090 "$@" $serve_flags
