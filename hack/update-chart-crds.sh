#!/usr/bin/env bash
# Copies the CRDs of config/crd/bases into the chart, each with the digest by
# which the chart tells whether the cluster's is the same. With --check it only
# compares.
set -euo pipefail
cd "$(dirname "$0")/.."

check=false
if [[ ${1:-} == --check ]]; then check=true; fi
to=charts/pose-operator/crds
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

for base in config/crd/bases/*.yaml; do
  digest=$(sha256sum "$base" | cut -c1-16)
  # controller-gen writes its own annotation last, so ours goes behind it.
  awk -v digest="$digest" '
    { print }
    /^    controller-gen\.kubebuilder\.io\/version:/ { print "    pose.dev/schema-digest: \"" digest "\""; found = 1 }
    END { exit !found }
  ' "$base" >"$made/$(basename "$base")" || { echo "$base: no place for the digest" >&2; exit 1; }
done

if $check; then
  if ! diff -ru "$to" "$made"; then
    echo "$to is out of date: run hack/update-chart-crds.sh" >&2
    exit 1
  fi
  exit 0
fi
mkdir -p "$to"
rm -f "$to"/*.yaml
cp "$made"/*.yaml "$to"/
