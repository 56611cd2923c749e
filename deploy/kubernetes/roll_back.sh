#!/bin/sh
# roll_back.sh NAMESPACE: brings every part of a cluster's deployment to what it ran before its latest change.
#
# Front ends first: what newer ones ask, older workers may not understand. Jobs stay where they are, in Redis, which goes on
# as it is: an older server may not read what a newer one wrote. Parts that are new have nothing to go back to, and go on.
set -eu

[ $# -eq 1 ] || { sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2; exit 2; }
namespace=$1
revision='{.metadata.annotations.deployment\.kubernetes\.io/revision}'
if command -v oc >/dev/null; then client=oc; else client=kubectl; fi

for component in '=api' '!=api'; do
  parts=$("$client" -n "$namespace" get deployment -o name \
    -l "app.kubernetes.io/name=storage-api,app.kubernetes.io/component$component")
  undone=''
  for each in $parts; do
    if [ "$("$client" -n "$namespace" get "$each" -o "jsonpath=$revision")" = 1 ]; then
      echo "$each has run nothing else before, and goes on as it is"
    else
      "$client" -n "$namespace" rollout undo "$each" </dev/null
      undone="$undone $each"
    fi
  done
  for each in $undone; do "$client" -n "$namespace" rollout status "$each" --timeout=10m </dev/null; done
done
