#!/bin/sh
# Draws the passwords of compose.yaml into docker/secrets, once: sh docker/new-secrets.sh. Containers read the files; the folder is its owner's only.
set -eu
cd "$(dirname "$0")/secrets"
chmod 700 .
draw() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
if [ ! -e store-password ]; then draw > store-password; fi
if [ ! -e flower-password ]; then draw > flower-password; fi
if [ ! -e grafana-password ]; then draw > grafana-password; fi
printf 'redis://:%s@redis:6379/0' "$(cat store-password)" > redis-url
# Made by `jobs key create` once the installation is there; Prometheus needs a file meanwhile.
if [ ! -e api-key ]; then : > api-key; fi
chmod 444 store-password flower-password grafana-password redis-url api-key
