#!/bin/sh
# roll_out.sh VERSION: brings a running Compose stack to the images of that version, losing no job and no answer.
#
# New containers start beside the old ones; when all of them are healthy, the old ones get SIGTERM. When one is not, the
# new ones are removed and the old ones go on: exit code 1, and nothing has changed. The same command with the version
# before goes back. Nothing is built, and no file is written: the line for .env is printed at the end.
#
# Several front ends (deploy/compose/proxy.yml, or a range of ports with room for twice as many) change without a gap. A
# single one that has the port to itself is away for some seconds, which is said before.
set -eu

[ $# -eq 1 ] || { sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2; }
version=$1
ready_s=${ROLL_OUT_READY_S:-180}
watch_s=${ROLL_OUT_WATCH_S:-5}
cd "$(dirname "$0")/../.."

# What is under way goes on also where nobody reads this any more.
say() { printf '%s\n' "$*" || true; }
fail() {
  printf 'roll_out: %s\n' "$*" >&2
  exit 1
}

# --- What there is, and what is asked for ---

retagged() { printf '%s\n' "${1%@*}" | sed "s#\(:[^:/]*\)\{0,1\}\$#:$version#"; }
# Of a service, as Compose reads its files, .env and the shell: the image, the number of containers, the port of the host.
configured() {
  docker compose config | awk -v service="$1" -v wanted="$2" '
    /^[^ ]/ { services = $1 == "services:" }
    services && /^  [^ ]/ { name = $1; sub(":$", "", name) }
    services && name == service && $1 == wanted ":" { gsub("\"", "", $2); print $2; exit }'
}
image_of() { configured "$1" image; }
# Without those of `docker compose run`.
all_of() {
  docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}
state_of() {
  docker inspect --format \
    '{{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}/{{.RestartCount}}' "$1" 2>/dev/null ||
    echo gone/gone/0
}
is_healthy() {
  case $(state_of "$1") in running/healthy/*) ;; *) false ;; esac
}
healthy_of() {
  for each in $(all_of "$1"); do
    if is_healthy "$each"; then say "$each"; fi
  done
}
words() { echo $#; }
# How many there are to be: as many as do their work now; if none does, as many as .env says.
wanted_of() {
  # shellcheck disable=SC2046 # words are counted
  count=$(words $(healthy_of "$1"))
  [ "$count" -gt 0 ] || count=$(configured "$1" replicas)
  say "${count:-1}"
}
# May as many again run beside those that are there?
has_room() {
  ports=$(configured "$1" published)
  [ -n "$ports" ] || return 0
  # shellcheck disable=SC2046 # words are counted
  [ $((${ports#*-} - ${ports%-*} + 1)) -ge $(($(words $(all_of "$1")) + $(wanted_of "$1"))) ]
}

docker compose config --quiet || fail "docker-compose.yml or .env is wrong (see above); nothing was changed"
project=$(docker compose config | sed -n 's/^name: *//p' | head -n 1)
if command -v flock >/dev/null; then
  exec 9<docker-compose.yml
  flock -n 9 || fail "another rollout is under way"
fi
is_healthy "$(docker compose ps --quiet redis)" || fail "Redis does not run: bring the stack up first (docker compose up --wait)"

old_api=$(image_of api) old_worker=$(image_of worker)
new_api=$(retagged "$old_api") new_worker=$(retagged "$old_worker")
for image in "$new_api" "$new_worker"; do
  docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null 2>&1 ||
    fail "there is no image $image here, and it cannot be pulled; nothing was changed"
done
version_in() {
  docker run --rm --network none --entrypoint python "$1" -c \
    'from importlib.metadata import version; print(version("storage-api"))' 2>/dev/null
}
release=$(version_in "$new_api") || fail "$new_api holds no storage-api; nothing was changed"
[ "$(version_in "$new_worker")" = "$release" ] ||
  fail "$new_api is of release $release, $new_worker is not; nothing was changed"

# Services that run these images, workers first: they understand what older front ends ask.
workers='' others='' apis=''
for service in $(docker compose config --services); do
  case $service:$(image_of "$service") in
    secrets:*) ;;
    flower:"$old_worker") others="$others $service" ;;
    *:"$old_worker") workers="$workers $service" ;;
    *:"$old_api") apis="$apis $service" ;;
  esac
done
# Those that the containers run now, to go back to: not what .env says, which may have been changed already.
running_image() {
  for each in $(healthy_of "$1") $(all_of "$1"); do
    docker inspect --format '{{.Config.Image}}' "$each"
    return
  done
}
before_api=$(running_image api) before_worker=$(running_image worker)

use() { export SAPI_API_IMAGE="$1" SAPI_WORKER_IMAGE="$2"; }
only_version=$(SAPI_VERSION=$version image_of api; SAPI_VERSION=$version image_of worker)
use "$new_api" "$new_worker"

# --- Starting the new ones ---

new='' old='' replaced='' over=''

why() {
  say "$(docker inspect --format '{{.Name}}' "$1" | tr -d /) does not become ready ($(state_of "$1")). Its last words:"
  docker logs --tail 8 "$1" 2>&1 | sed 's/^/    /'
}

# Wait until all of them are healthy; the first that ends, or starts again, is reason enough to go back.
await() {
  deadline=$(($(date +%s) + ready_s))
  while :; do
    waiting=''
    for each in "$@"; do
      case $(state_of "$each") in
        running/healthy/0 | running/none/0) ;;
        running/starting/0 | created/*/0) waiting=$each ;;
        *) why "$each"; return 1 ;;
      esac
    done
    [ -n "$waiting" ] || return 0
    [ "$(date +%s)" -lt "$deadline" ] || { why "$waiting"; return 1; }
    sleep 0.5
  done
}

# Makes the container of the service anew where its image or the files have changed since: it is started again before all
# that depends on it, and Compose starts anew whatever depends on what it has to make anew.
make_secrets() { docker compose up --no-build --exit-code-from secrets secrets 2>&1; }

# Never with --no-deps: Compose would take what was started so for another configuration, and start it anew the next time.
start() {
  docker compose up --detach --no-build --no-recreate --scale "$1=$2" "$1" >/dev/null 2>&1
}

start_beside() {
  known=" $(all_of "$1" | tr '\n' ' ')"
  # shellcheck disable=SC2086 # words are counted
  total=$(($(words $known) + $(wanted_of "$1")))
  start "$1" "$total" || started=no
  for each in $(all_of "$1"); do
    case $known in *" $each "*) ;; *) new="$new $each" ;; esac
  done
  old="$old$known"
  [ "${started:-yes}" = yes ] || { say "Compose cannot start $1:"; docker compose logs --tail 8 "$1"; return 1; }
}

# The new release in a container without the port, to see whether it becomes ready.
try_out() {
  tried=$(docker compose run --detach --no-deps "$1" 2>/dev/null | tail -n 1)
  [ -n "$tried" ] || { say "Compose cannot start $1"; return 1; }
  new="$new $tried"
  await "$tried"
}

replace() {
  replaced="$replaced $1"
  docker compose rm --stop --force "$1" >/dev/null 2>&1
  start "$1" "$2" || { say "Compose cannot start $1"; return 1; }
  # shellcheck disable=SC2046 # ids
  await $(all_of "$1")
}

# Containers of these images whose service the files do not have: left by a release that has more services.
of_no_service() {
  known=" $(docker compose config --services | tr '\n' ' ')"
  for each in $(docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.oneoff=False); do
    case $known in
      *" $(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$each") "*) continue ;;
    esac
    image=$(docker inspect --format '{{.Config.Image}}' "$each")
    case ${image%:*} in "${new_api%:*}" | "${new_worker%:*}") say "$each" ;; esac
  done
}

# They hand on and finish what they have, as on every SIGTERM: also new ones that are not kept may have jobs.
end() {
  for each in "$@"; do docker stop "$each" >/dev/null 2>&1 & done
  wait
  remove "$@"
}
remove() { [ $# -eq 0 ] || docker rm --force "$@" >/dev/null 2>&1 || true; }

# Which front ends the proxy asks: those that are given, or with none whatever Docker's name server says.
point_proxy() {
  docker compose ps --quiet proxy 2>/dev/null | grep -q . || return 0
  if [ $# -eq 0 ]; then
    docker compose exec -T proxy cat /etc/storage-api/servers.conf
  else
    say 'upstream rollout {'
    docker inspect --format '{{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{$one.IPAddress}}{{"\n"}}{{end}}' "$@" |
      sed -n 's/^[^ ]*_front \(.*\)/  server \1:8000;/p'
    say '}'
    # shellcheck disable=SC2016 # nginx's variable
    say 'map "" $api_servers { default rollout; }'
  fi | docker compose exec -T proxy sh -c 'cat >/tmp/servers.conf && kill -HUP "$(cat /tmp/nginx.pid)"'
}

go_back() {
  say "Going back."
  use "$before_api" "$before_worker"
  make_secrets >/dev/null || true
  for service in $replaced; do
    docker compose rm --stop --force "$service" >/dev/null 2>&1 || true
    start "$service" "$(eval "say \$count_of_$(say "$service" | tr - _)")" || true
    # shellcheck disable=SC2046 # ids
    await $(all_of "$service") || say "$service does not run with ${before_api##*:} either."
  done
  point_proxy || true
  # shellcheck disable=SC2086 # ids
  end $new
}

finish() {
  code=$?
  # A connection that is lost takes the readers of our words away, and sends its signal more than once.
  trap '' INT HUP PIPE
  trap - EXIT TERM
  if [ -z "$over" ]; then
    go_back
    printf 'roll_out: %s was not rolled out; the containers of %s go on\n' "$version" "${before_api##*:}" >&2 || true
    [ "$code" -ne 0 ] || code=1
  fi
  exit "$code"
}
trap finish EXIT
trap "trap '' INT HUP PIPE; exit 130" INT TERM HUP PIPE

users() { docker compose exec -T redis cat /run/storage-api/users.acl | cksum; }
users_before=$(users)
words=$(make_secrets) || { say "$words" | tail -n 3; fail "the secrets of $version cannot be made"; }
if [ "$(users)" != "$users_before" ]; then
  say "The rights of Redis's users have changed: Redis starts anew, requests are answered with 503 meanwhile."
  docker compose restart redis >/dev/null 2>&1
fi

say "Starting $version beside ${before_api##*:}."
alone=''
for service in $workers $apis; do
  if has_room "$service"; then
    start_beside "$service" || exit 1
  else
    alone="$alone $service"
  fi
done
# shellcheck disable=SC2086 # ids
await $new || exit 1
for service in $alone; do try_out "$service" || exit 1; done
sleep "$watch_s"
# shellcheck disable=SC2086 # ids
await $new || exit 1

# --- Taking the old ones away ---

for service in $others $alone; do
  case " $apis " in *" $service "*) say "$service has its port to itself: no front end answers for some seconds." ;; esac
  count=$(wanted_of "$service")
  eval "count_of_$(say "$service" | tr - _)=$count"
  replace "$service" "$count" || exit 1
done
for service in $alone; do
  # shellcheck disable=SC2046 # ids
  remove $(docker ps --all --quiet --filter "label=com.docker.compose.project=$project" \
    --filter "label=com.docker.compose.service=$service" --filter label=com.docker.compose.oneoff=True)
done
over=yes
trap - EXIT
trap '' INT HUP PIPE
fresh() {
  for each in $(all_of api); do
    case "$old " in *" $each "*) ;; *) say "$each" ;; esac
  done
}
# shellcheck disable=SC2046 # ids
point_proxy $(fresh)
for each in $(of_no_service); do
  say "$(docker inspect --format '{{.Name}}' "$each" | tr -d /) is of no service in docker-compose.yml, and ends."
  old="$old $each"
done
sleep 1
# shellcheck disable=SC2086 # ids
end $old
point_proxy

# --- What runs now ---

wrong=''
for service in $workers $others $apis; do
  image=$(image_of "$service")
  for each in $(all_of "$service"); do
    name=$(docker inspect --format '{{.Name}}' "$each" | tr -d /)
    [ "$(docker inspect --format '{{.Image}}' "$each")" = "$(docker image inspect --format '{{.Id}}' "$image")" ] &&
      is_healthy "$each" || wrong="$wrong $name ($(state_of "$each"))"
    case " $apis " in *" $service "*)
      answered=$(docker exec "$each" python -S -c 'import http.client as h, json
c = h.HTTPConnection("127.0.0.1", 8000, timeout=5); c.request("GET", "/healthz"); print(json.load(c.getresponse())["version"])' 2>&1) || true
      [ "$answered" = "$release" ] || wrong="$wrong $name (says $answered)"
      ;;
    esac
    say "$name runs $image"
  done
done
[ -z "$wrong" ] || fail "these do not run $version:$wrong"
say "All of it runs $version (release $release)."
if [ "$old_api $old_worker" != "$new_api $new_worker" ]; then
  say "So that the next \`docker compose up\` keeps it, .env must have:"
  if [ "$only_version" = "$new_api
$new_worker" ]; then
    say "SAPI_VERSION=$version"
  else
    say "SAPI_API_IMAGE=$new_api"
    say "SAPI_WORKER_IMAGE=$new_worker"
  fi
fi
[ "${before_api##*:}" = "$version" ] || say "To go back: $0 ${before_api##*:}"
