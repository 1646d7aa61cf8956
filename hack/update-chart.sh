#!/usr/bin/env bash
# Regenerates what of the chart is generated: its CRDs, the table of values in
# its README, and the golden renders of its tests. With --to DIR the README and
# the renders go there instead and the CRDs stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

helm=${HELM:-.tools/bin/helm}
chart=charts/pose-operator
readme=$chart/README.md
golden=$chart/tests/golden
command -v "$helm" >/dev/null || { echo "$helm is missing: run make tools" >&2; exit 1; }

if [[ ${1:-} == --to ]]; then
  readme=$2/README.md golden=$2/golden
else
  hack/update-chart-crds.sh
fi

# table prints a row for each value of values.yaml: a "# --" comment documents
# the key below it. A key with a value and no comment is an error.
table() {
  awk '
    function trim(s) { gsub(/^[ ]+|[ ]+$/, "", s); return s }
    function path(depth,   p, i) { p = key[0]; for (i = 1; i <= depth; i++) p = p "." key[i]; return p }
    /^ *# -- / { doc = $0; sub(/^ *# -- /, "", doc); inside = 1; next }
    /^ *#/ { if (inside) { more = $0; sub(/^ *# ?/, "", more); doc = doc " " more }; next }
    /^ *$/ { inside = 0; doc = ""; next }
    {
      indent = match($0, /[^ ]/) - 1
      if (indent > skip && skip >= 0) next
      skip = -1
      if (!match($0, /^ *[A-Za-z0-9_-]+:/)) { printf "values.yaml:%d: not understood: %s\n", NR, $0 > "/dev/stderr"; failed = 1; next }
      depth = indent / 2
      name = trim(substr($0, 1, RLENGTH)); sub(/:$/, "", name)
      value = trim(substr($0, RLENGTH + 1))
      key[depth] = name
      if (doc == "" && value != "") { printf "values.yaml:%d: %s has no comment\n", NR, path(depth) > "/dev/stderr"; failed = 1 }
      if (doc != "" && value == "") { value = "see values.yaml"; skip = indent }
      else if (value != "") value = "`" value "`"
      if (doc != "") { gsub(/\|/, "\\|", doc); gsub(/\|/, "\\|", value); printf "| `%s` | %s | %s |\n", path(depth), value, doc }
      doc = ""; inside = 0
    }
    BEGIN { skip = -1 }
    END { exit failed }
  ' "$chart/values.yaml"
}

rows=$(table)
made=$(mktemp)
trap 'rm -f "$made"' EXIT
awk -v rows="$rows" '
  /<!-- values: begin/ { print; print ""; print "| value | default | what it does |"; print "|---|---|---|"; print rows; print ""; dropping = 1; found++ }
  /<!-- values: end/ { dropping = 0; found++ }
  !dropping { print }
  END { exit found != 2 }
' "$chart/README.md" >"$made" || { echo "$chart/README.md has no values: begin and end" >&2; exit 1; }
mkdir -p "$golden"
cp "$made" "$readme"
chmod 0644 "$readme"

rm -f "$golden"/*.yaml
for values in "$chart"/ci/*-values.yaml; do
  name=$(basename "$values" -values.yaml)
  "$helm" template pose-operator "$chart" --namespace pose-system --values "$values" >"$golden/$name.yaml"
done
