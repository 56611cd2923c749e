#!/bin/sh
# roll_out.sh OVERLAY NAMESPACE REGISTRY TAG: brings a cluster to a release, workers first, and waits until it runs.
#
# Uses oc, or kubectl where there is none, as whoever is signed in. Workers first: they understand what older front ends
# ask, but not the other way round. Nothing is torn down: if the new ones do not become ready, the old ones go on.
set -eu

[ $# -eq 4 ] || { sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2; exit 2; }
overlay=$1 namespace=$2 registry=$3 tag=$4

here=$(cd "$(dirname "$0")" && pwd)
[ -f "$here/overlays/$overlay/kustomization.yaml" ] || { echo "there is no overlay $overlay" >&2; exit 2; }
if command -v oc >/dev/null; then client=oc; else client=kubectl; fi

release="$here/overlays/.release-$$"
trap 'rm -rf "$release"' EXIT
mkdir "$release"
cat >"$release/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $namespace
resources: [../$overlay]
images:
  - {name: registry.example.org/db/storage-api/api, newName: $registry/api, newTag: "$tag"}
  - {name: registry.example.org/db/storage-api/worker, newName: $registry/worker, newTag: "$tag"}
END

run() {
  "$client" -n "$namespace" "$@"
}

if [ -n "${ONLY_RENDER:-}" ]; then
  "$client" kustomize "$release"
  exit
fi
run apply -k "$release" -l 'app.kubernetes.io/component!=api'
for kind in statefulset deployment; do
  run get "$kind" -l 'app.kubernetes.io/name=storage-api,app.kubernetes.io/component!=api' -o name |
    while read -r each; do run rollout status "$each" --timeout=10m </dev/null; done
done
run apply -k "$release"
run rollout status deployment/api --timeout=10m
echo "$overlay runs $tag"
