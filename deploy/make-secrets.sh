#!/bin/sh
# Creates what is missing of ./secrets, the files that compose.yaml hands to the containers. A file that exists is kept.
# The folder is yours alone (0700). The files in it are readable (0444), because each container runs as a user of its own and
# gets just the file: nobody else on this machine can reach them through the folder.
set -eu
umask 077

cd "$(dirname "$0")/.."
mkdir -p secrets
chmod 0700 secrets
for name in superuser_password agent_password av_notify_secret av_history_key operator_token session_secret result_webhook_secret; do
  file=secrets/$name
  if [ -s "$file" ]; then
    echo "$file exists and is kept."
    continue
  fi
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$file"
  chmod 0444 "$file"
  echo "$file was created."
done
echo "Keep a copy of secrets/av_history_key away from this machine: whoever has it can prove that the scan history is complete."
