#!/usr/bin/env bash
# Checks that docs/api-reference.md is what the API's types say.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(mktemp)
trap 'rm -f "$made"' EXIT
hack/update-api-reference.sh "$made"
diff -u docs/api-reference.md "$made" || {
  echo "run: make generate" >&2
  exit 1
}
