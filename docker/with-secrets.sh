#!/bin/sh
# The image's entry: a variable X_FILE names the file that has the value of X, so that no secret is in `docker inspect`. Compose mounts secrets as files.
set -eu
for name in PIPELINE_REDIS_URL CELERY_BROKER_URL PIPELINE_HISTORY_URL PIPELINE_FLOWER_PASSWORD PIPELINE_SECRET_KEY; do
  file=$(printenv "${name}_FILE" || true)
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$name=$value"
  fi
  unset "${name}_FILE"
done
exec "$@"
