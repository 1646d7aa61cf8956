#!/usr/bin/env bash
# Makes the kustomize bases from the chart's templates, so that both say the
# same. With --check it only compares.
set -euo pipefail
cd "$(dirname "$0")/.."

helm=${HELM:-.tools/bin/helm}
command -v "$helm" >/dev/null || { echo "$helm is missing: run make tools" >&2; exit 1; }
to=config
check=false
if [[ ${1:-} == --check ]]; then
  check=true
  to=$(mktemp -d)
  trap 'rm -rf "$to"' EXIT
fi

# plain removes what only Helm needs. The checksum would be wrong as soon as
# somebody patches the configuration.
plain() {
  awk '
    NR == 1 && $0 == "---" { next }
    /^ *(helm\.sh\/|meta\.helm\.sh\/|checksum\/|app\.kubernetes\.io\/managed-by: Helm|# Source: |# The configuration is read at start)/ { next }
    /^# Source: / || /^ +$/ { next }
    /^ *annotations:$/ { held = $0; match($0, /[^ ]/); depth = RSTART; next }
    held != "" { match($0, /[^ ]/); if (RSTART > depth) print held; held = "" }
    { print }
  ' | awk '
    # No blank lines around the separators of documents.
    /^$/ { blank = 1; next }
    { if (blank && $0 != "---" && last != "---" && NR > 1) print ""; blank = 0; print; last = $0 }
  '
}

changed=0
render() { # TEMPLATE FILE
  mkdir -p "$to/$(dirname "$2")"
  {
    echo "# Made from the chart by hack/update-config.sh; change charts/pose-operator/templates/$1."
    "$helm" template pose-operator charts/pose-operator --namespace pose-system --show-only "templates/$1" | plain
  } >"$to/$2"
  if $check && ! diff -u "config/$2" "$to/$2"; then changed=1; fi
}

render serviceaccount.yaml rbac/serviceaccount.yaml
render rbac/manager.yaml rbac/manager.yaml
render rbac/users.yaml rbac/users.yaml
render configmap.yaml manager/configmap.yaml
render secret.yaml manager/secret.yaml
render services.yaml manager/services.yaml
render deployment.yaml manager/deployment.yaml
render engines/mediapipe.yaml engines/mediapipe.yaml
render engines/phalp.yaml engines/phalp.yaml

if ((changed)); then
  echo "config/ is not what the chart renders: run hack/update-config.sh" >&2
  exit 1
fi
