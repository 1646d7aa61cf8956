#!/usr/bin/env bash
# Regenerates everything that is generated. verify-all.sh checks the result.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${TOOLS_BIN:-$PWD/.tools/bin}

"$bin/controller-gen" object paths=./api/...
"$bin/controller-gen" crd paths=./api/... output:crd:dir=config/crd/bases
for script in hack/update-chart-crds.sh hack/update-chart.sh hack/update-config.sh hack/update-api-reference.sh; do
  if [[ -x $script ]]; then "$script"; fi
done
gofmt -w api controllers cmd internal hack
