#!/usr/bin/env bash
# Makes docs/api-reference.md from the comments of the API's types. With a file's
# name as argument it writes there instead.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=${TOOLS_BIN:-$PWD/.tools/bin}/crd-ref-docs
to=${1:-docs/api-reference.md}
made=$(mktemp)
trap 'rm -f "$made"' EXIT

"$tool" --source-path=api/v1alpha1 --config=hack/tools/crd-ref-docs/config.yaml --renderer=markdown \
  --output-path="$made" --log-level=ERROR
{
  echo "<!-- Made by hack/update-api-reference.sh from api/v1alpha1; change the comments there. -->"
  # The tool writes markers as they are, and leaves a blank in every empty line.
  sed -E 's/Optional: \\\{\\\} <br \/>/optional/; s/ <br \/> \|/ |/; s/<br \/> \|/ |/g; s/[[:space:]]+$//' "$made" | cat -s
} >"$to"
