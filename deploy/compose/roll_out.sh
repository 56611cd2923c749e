#!/bin/sh
# roll_out.sh VERSION: brings a running Compose stack to the images of that tag, losing no job and no answer.
#
# For each service: as many new containers as there are, and when these are healthy, the old ones are told to end. Workers
# first: they understand what older front ends ask. The front end changes without a gap when SAPI_PORT is a range that has
# room for twice its replicas, and a load balancer stands before it; with a single port it is away for some seconds.
set -eu

[ $# -eq 1 ] || { sed -n 's/^# \{0,1\}//; 2,6p' "$0" >&2; exit 2; }
export SAPI_VERSION="$1"

roll() {
  service=$1
  old=$(docker compose ps -q "$service")
  count=$(echo "$old" | wc -w)
  docker compose up -d --no-deps --no-recreate --wait --scale "$service=$((2 * count))" "$service"
  for container in $old; do
    docker stop -t 45 "$container" >/dev/null
    docker rm "$container" >/dev/null
  done
}

roll worker
roll worker-list
docker compose up -d --no-deps --wait flower
case "${SAPI_PORT:-}" in
  *-*) roll api ;;
  *) docker compose up -d --no-deps --wait api ;;
esac
echo "All of it runs $SAPI_VERSION now. Put SAPI_VERSION=$SAPI_VERSION into .env."
