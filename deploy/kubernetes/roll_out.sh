#!/bin/sh
# roll_out.sh OVERLAY NAMESPACE REGISTRY TAG: brings a cluster to a release, workers first, and waits until it runs.
#
# Uses oc, or kubectl where there is none, as whoever is signed in. Workers first: they understand what older front ends
# ask, but not the other way round. New pods are ready before old ones end; when they do not become ready, every part goes
# back to what it ran before, and the exit code is 1. roll_back.sh goes back later.
#
# API_DIGEST and WORKER_DIGEST (sha256:...) name the images by digest in the place of TAG, REDIS_IMAGE and PROXY_IMAGE
# images from elsewhere, a mirror for instance, with tag or digest. ONLY=render prints what would be applied; ONLY=template
# prints it as an OpenShift template named storage-api, which can be applied without touching what runs.
set -eu

[ $# -eq 4 ] || { sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2; exit 2; }
overlay=$1 namespace=$2 registry=$3 tag=$4

here=$(cd "$(dirname "$0")" && pwd)
[ -f "$here/overlays/$overlay/kustomization.yaml" ] || { echo "there is no overlay $overlay" >&2; exit 2; }
if command -v oc >/dev/null; then client=oc; else client=kubectl; fi

# The entry of kustomize's list of images: by digest where there is one, else by tag.
image() {
  case $2 in
    *@*) echo "  - {name: $1, newName: ${2%%@*}, digest: ${2#*@}}" ;;
    *) echo "  - {name: $1, newName: ${2%:*}, newTag: \"${2##*:}\"}" ;;
  esac
}
ours() {
  if [ -n "$2" ]; then echo "$registry/$1@$2"; else echo "$registry/$1:$tag"; fi
}

release="$here/overlays/.release-$$"
trap 'rm -rf "$release"' EXIT
mkdir "$release"
{
  cat <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $namespace
resources: [../$overlay]
images:
END
  image registry.example.org/db/storage-api/api "$(ours api "${API_DIGEST:-}")"
  image registry.example.org/db/storage-api/worker "$(ours worker "${WORKER_DIGEST:-}")"
  [ -z "${REDIS_IMAGE:-}" ] || image docker.io/valkey/valkey "$REDIS_IMAGE"
  [ -z "${PROXY_IMAGE:-}" ] || image docker.io/library/nginx "$PROXY_IMAGE"
} >"$release/kustomization.yaml"

run() {
  "$client" -n "$namespace" "$@"
}

template() {
  cat <<END
apiVersion: template.openshift.io/v1
kind: Template
metadata:
  name: storage-api
  namespace: $namespace
  annotations: {description: "storage-api $tag: oc process storage-api | oc apply -f -"}
objects:
END
  "$client" kustomize "$release" | awk '
    BEGIN { first = 1 }
    /^---$/ { first = 1; next }
    { print (first ? "  - " : "    ") $0; first = 0 }'
}

case ${ONLY:-} in
  render) "$client" kustomize "$release"; exit ;;
  template) template; exit ;;
esac

parts() {
  run get statefulset,deployment -l "app.kubernetes.io/name=storage-api,app.kubernetes.io/component$1" -o name
}
await() {
  for each in $(parts "$1"); do run rollout status "$each" --timeout=10m </dev/null || return 1; done
}
generations() {
  run get deployment -l app.kubernetes.io/name=storage-api \
    -o 'jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.deployment\.kubernetes\.io/revision}{"\n"}{end}'
}

# Redis's pods, and what they were made from; none where it is an external one.
stores() {
  run get statefulset -l app.kubernetes.io/name=storage-api \
    -o 'jsonpath={range .items[*]}{.metadata.name}={.status.updateRevision}{"\n"}{end}'
}

before=$(generations) stores_before=$(stores)
go_back() {
  echo "$tag does not become ready in $overlay: going back" >&2
  for each in $before; do
    case " $(generations | tr '\n' ' ')" in
      *" $each "*) ;;  # It has not changed.
      *) run rollout undo "deployment/${each%=*}" --to-revision="${each#*=}" ;;
    esac
  done
  for each in $stores_before; do
    case " $(stores | tr '\n' ' ')" in
      *" $each "*) ;;
      *)
        run rollout undo "statefulset/${each%=*}"
        # A stateful set waits for a pod that cannot become ready, and so never replaces it.
        run delete pod "${each%=*}-0" --ignore-not-found
        ;;
    esac
  done
  await '' || echo "what ran before does not become ready either" >&2
  exit 1
}

run apply -k "$release" -l 'app.kubernetes.io/component!=api'
await '!=api' || go_back
run apply -k "$release"
await '=api' || go_back
echo "$overlay runs $tag"
