#!/usr/bin/env bash
# Checks the chart: lint, golden renders, values that must be refused, RBAC
# without wildcards, Secrets or needless logs, the README's table, the CRDs'
# copies. Lists every failure and ends with 1 if there is any.
set -uo pipefail
cd "$(dirname "$0")/.."

helm=${HELM:-.tools/bin/helm}
chart=charts/pose-operator
command -v "$helm" >/dev/null || { echo "$helm is missing: run make tools" >&2; exit 1; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
failures=0
fail() {
  echo "FAIL: $1" >&2
  if [[ -n ${2:-} ]]; then sed 's/^/      /' <<<"$2" >&2; fi
  failures=$((failures + 1))
}

for values in "$chart"/ci/*-values.yaml; do
  out=$("$helm" lint --strict --quiet "$chart" --values "$values" 2>&1) || fail "helm lint with $values" "$out"
done

if out=$(hack/update-chart.sh --to "$made" 2>&1); then
  # Renders without a golden file count, and so do golden files without a render.
  for name in $(basename -a "$chart"/tests/golden/*.yaml "$made"/golden/*.yaml | sort -u); do
    out=$(diff -uN "$chart/tests/golden/$name" "$made/golden/$name" 2>&1) ||
      fail "the render of ci/${name%.yaml}-values.yaml is not tests/golden/$name (hack/update-chart.sh, if it should be)" "$out"
  done
  out=$(diff -u "$chart/README.md" "$made/README.md") || fail "the README's table is not of values.yaml (hack/update-chart.sh)" "$out"
else
  fail "the chart cannot be rendered" "$out"
fi

# The first line of each file says what the refusal must name.
for values in "$chart"/tests/refused/*.yaml; do
  want=$(sed -n '1s/^# refused: //p' "$values")
  if [[ -z $want ]]; then
    fail "$values does not begin with '# refused: WORDS'"
  elif out=$("$helm" template pose-operator "$chart" --values "$values" 2>&1 >/dev/null); then
    fail "$values was accepted"
  elif [[ $out != *"$want"* ]]; then
    fail "$values was refused without naming '$want'" "$out"
  fi
done

for file in "$made"/golden/*.yaml config/rbac/*.yaml; do
  # Of a role: apiGroups, resources, verbs, nonResourceURLs with a star, or Secrets,
  # but for the one by its name that keeps the manager's own certificate.
  out=$(awk '/resources: \[secrets\]/ { held = FNR ":" $0; next }
    held != "" && /resourceNames: \[[a-z-]*-progress\]/ { held = ""; next }
    held != "" { print held; held = "" }
    /^ +- ["'\'']?\*["'\'']?$|(apiGroups|resources|verbs|nonResourceURLs): .*\*|resources: .*secrets/ { print FNR ":" $0 }' "$file")
  [[ -n $out ]] &&
    fail "$file holds a wildcard or Secrets" "$out"
done

# Logs of pods may be read only where engines without pose-runner may run.
for file in "$made"/golden/*.yaml config/rbac/*.yaml; do
  grep -q 'resources: .*pods/log' "$file" || continue
  grep -q '^ *enginesWithoutRunner: true$' "$file" || fail "$file may read the logs of pods without config.policy.enginesWithoutRunner"
done

out=$(hack/update-chart-crds.sh --check 2>&1) || fail "the chart's CRDs" "$out"

# Every engine that the chart makes must have outputs that prove success.
for file in "$made"/golden/*.yaml; do
  engines=$(grep -c '^kind: PoseEngine$' "$file")
  proofs=$(grep -cE 'format: PoseJSON' "$file")
  ((engines == proofs)) || fail "$file: $engines engines and $proofs outputs of format PoseJSON"
done

if ((failures > 0)); then
  echo "$failures failures" >&2
  exit 1
fi
