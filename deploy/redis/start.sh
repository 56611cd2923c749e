#!/bin/sh
# start.sh COMMAND...: starts Redis once its disk has room, and says so while it has none.
#
# With `appendfsync always` the server ends when it cannot write its append-only file, and would do so again after every
# start. 64 MiB, or a twentieth of a small disk, let it start and rewrite the file.
set -eu

# The first process of a container gets no signal for which it has no handler; the server sets its own.
trap 'exit 143' TERM INT
folder=${REDIS_DATA_DIR:-/data}
round=0
room() {
  df -Pk "$folder" | awk 'NR == 2 { need = $2 / 20; if (need > 65536) need = 65536; print int($4), int(need) }'
}

while :; do
  room=$(room)
  free=${room% *} need=${room#* }
  [ "$free" -lt "$need" ] || break
  if [ $((round % 12)) -eq 0 ]; then
    echo "Redis does not start: the disk of $folder is full ($free KiB free, $need needed). It starts when there is room:" \
      "enlarge the volume, or delete what else is on it, never the append-only file. Accepted jobs are safe." >&2
  fi
  round=$((round + 1))
  sleep "${REDIS_RETRY_S:-5}"
done
# The image's own start gives the data to the server's user.
if command -v docker-entrypoint.sh >/dev/null; then exec docker-entrypoint.sh "$@"; fi
exec "$@"
