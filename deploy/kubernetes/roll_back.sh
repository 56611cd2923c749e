#!/bin/sh
# roll_back.sh NAMESPACE: brings every part of a cluster's deployment to what it ran before its latest change.
#
# Front ends first: what newer ones ask, older workers may not understand. Jobs stay where they are, in Redis, which goes on
# as it is: an older server may not read what a newer one wrote.
set -eu

[ $# -eq 1 ] || { sed -n 's/^# \{0,1\}//; 2,4p' "$0" >&2; exit 2; }
namespace=$1
if command -v oc >/dev/null; then client=oc; else client=kubectl; fi

for component in '=api' '!=api'; do
  parts=$("$client" -n "$namespace" get deployment -o name \
    -l "app.kubernetes.io/name=storage-api,app.kubernetes.io/component$component")
  for each in $parts; do "$client" -n "$namespace" rollout undo "$each" </dev/null; done
  for each in $parts; do "$client" -n "$namespace" rollout status "$each" --timeout=10m </dev/null; done
done
