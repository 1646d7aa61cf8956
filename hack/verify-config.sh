#!/usr/bin/env bash
# Checks config/: the bases are the chart's, and they build.
set -uo pipefail
cd "$(dirname "$0")/.."

failures=0
hack/update-config.sh --check || failures=$((failures + 1))

kubectl=${KUBECTL:-.tools/bin/kube-assets/kubectl}
if command -v "$kubectl" >/dev/null; then
  for base in default engines; do
    "$kubectl" kustomize "config/$base" >/dev/null || { echo "FAIL: config/$base does not build" >&2; failures=$((failures + 1)); }
  done
else
  echo "$kubectl is missing (make kube): the kustomize bases were not built" >&2
fi

if ((failures > 0)); then
  echo "$failures failures" >&2
  exit 1
fi
