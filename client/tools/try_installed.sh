#!/usr/bin/env bash
# Installs the wheel and the sdist in build/client with pip into environments of their own, and uses the command line on a
# development server of its own. PYTHONS: interpreters to try (default: python3).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
FOLDER=$(mktemp -d)
export SAPI_DEV_FOLDER=$FOLDER/dev SAPI_PORT="${SAPI_PORT:-18080}" SAPI_FLOWER_PORT="${SAPI_FLOWER_PORT:-15555}" XDG_CONFIG_HOME=$FOLDER/config
unset STORAGE_API_URL STORAGE_API_TOKEN STORAGE_API_PROFILE STORAGE_API_OUTPUT
SERVICE="$PWD/.venv/bin/python -m deploy.dev.devserver"
trap '$SERVICE stop >/dev/null; rm -rf "$FOLDER"' EXIT
$SERVICE start >/dev/null

ends_with() {
  local wanted=$1 status=0
  shift
  "$@" >"$FOLDER/out" 2>"$FOLDER/err" || status=$?
  [ "$status" = "$wanted" ] && return
  echo "$* ended with $status, not $wanted" >&2
  cat "$FOLDER/out" "$FOLDER/err" >&2
  exit 1
}

use() {
  local api=$1/bin/storage-api volume=$2
  if "$1/bin/python" -m pip list 2>/dev/null | grep -iE '^(celery|redis|flask|storage-api) '; then
    echo "the client must be installed without the service" >&2
    exit 1
  fi
  [ -f "$1/share/man/man1/storage-api.1" ]
  ends_with 0 "$api" --version
  ends_with 0 "$api" completion bash
  ends_with 0 "$api" login
  ends_with 0 "$api" volume create dummy "$volume" --size 1GiB
  ends_with 0 "$api" snapshot create dummy "$volume" first
  ends_with 0 "$api" volume rollback dummy "$volume" --to first --yes
  ends_with 1 "$api" volume create dummy "$volume"
  ends_with 2 "$api" volume restrict dummy "$volume"
  ends_with 5 "$api" volume show dummy no_such_volume
  ends_with 75 "$api" --url http://127.0.0.1:9 status
  "$1/bin/python" - "$volume" <<'END'
import sys
from storage_api_client import Client

with Client.from_environment() as api:
    assert [each.name for each in api.subsystem("dummy").volumes.snapshots(sys.argv[1])] == ["first"]
END
}

NUMBER=0
for PYTHON in ${PYTHONS:-python3}; do
  for PACKAGE in build/client/*.whl build/client/*.tar.gz; do
    NUMBER=$((NUMBER + 1))
    "$PYTHON" -m venv "$FOLDER/env$NUMBER"
    "$FOLDER/env$NUMBER/bin/pip" install --quiet --disable-pip-version-check "$PACKAGE"
    (cd "$FOLDER" && use "$FOLDER/env$NUMBER" "installed_$NUMBER")
    echo "$("$PYTHON" -V), $(basename "$PACKAGE"): installed and used"
  done
done
