#!/usr/bin/env bash
# Runs every check beside lint and tests, and reports every failure, not the
# first alone.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${TOOLS_BIN:-$PWD/.tools/bin}
failed=()

check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    echo "ok    $name"
  else
    echo "FAIL  $name"
    sed 's/^/      /' <<<"$out" | head -n 60
    failed+=("$name")
  fi
}

generated() {
  local dir
  dir=$(mktemp -d) || return
  "$bin/controller-gen" crd paths=./api/... "output:crd:dir=$dir" &&
    "$bin/controller-gen" object paths=./api/... "output:object:dir=$dir" || return
  diff -u api/v1alpha1/zz_generated.deepcopy.go "$dir/zz_generated.deepcopy.go" &&
    rm "$dir/zz_generated.deepcopy.go" &&
    diff -ru config/crd/bases "$dir" || {
    echo "run: make generate"
    return 1
  }
  rm -rf "$dir"
}

formatted() {
  local files
  files=$(gofmt -l api controllers cmd internal hack)
  [[ -z $files ]] || {
    echo "run gofmt -w on: $files"
    return 1
  }
}

tidy() {
  local mod status=0
  for mod in . hack/cluster; do
    (cd "$mod" && go mod tidy -diff) || status=1
  done
  return $status
}

check "generated code and CRDs are up to date" generated
check "Go files are formatted" formatted
check "go.mod files are tidy" tidy
for script in hack/verify-*.sh; do
  if [[ $script != hack/verify-all.sh ]]; then check "$script" "$script"; fi
done

if ((${#failed[@]})); then
  printf '\n%d checks failed: %s\n' "${#failed[@]}" "${failed[*]}" >&2
  exit 1
fi
