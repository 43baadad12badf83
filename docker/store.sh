#!/bin/sh
# Starts the server with half of the memory that its container may have as maxmemory. The other half is for what it copies while it rewrites
# its log, and for buffers. Without a limit of the container: half of the machine's.
set -eu
cgroup=${CGROUP:-/sys/fs/cgroup}
limit=
for file in "$cgroup/memory.max" "$cgroup/memory/memory.limit_in_bytes"; do
  if [ -r "$file" ]; then
    limit=$(cat "$file")
    break
  fi
done
machine=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))
case $limit in
  '' | *[!0-9]*) limit=$machine ;;
esac
# Older kernels say a number beyond all memory for "no limit".
if [ "$limit" -gt "$machine" ]; then limit=$machine; fi
# Nobody else may read what the server writes.
umask 077
if [ -z "${STORE_PASSWORD:-}" ]; then STORE_PASSWORD=$(cat /run/secrets/store-password); fi
exec "$@" --maxmemory $((limit / 2)) --requirepass "$STORE_PASSWORD"
