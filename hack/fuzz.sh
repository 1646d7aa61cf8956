#!/usr/bin/env bash
# Fuzzes every reader of outside input, one after the other, each for FUZZ_TIME. What
# breaks one is kept below its testdata/fuzz, which every later test run plays again.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "$package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_TIME:-10s}" "$package" | grep -v '^fuzz: elapsed' || failed=1
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oP '^func \KFuzz\w+' | sort)
exit "$failed"
