#!/bin/sh
# Becomes clamd, in the foreground, so that the container ends when clamd does and is started again.
set -eu

# clamd leaves the files of interrupted scans behind, whatever signal ended it; nobody else writes here.
rm -rf /tmp/*
cat /etc/pocketwarden/compose-site.conf /etc/pocketwarden/clamd.conf > /tmp/clamd.conf
exec clamd --config-file=/tmp/clamd.conf
