#!/usr/bin/env bash
# Builds every image of the project for the local cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

# An image made from scratch holds one binary: its context is a folder of it.
for name in manager pose-runner staged-engine; do
  mkdir -p "bin/image-$name"
  cmp -s "bin/$name" "bin/image-$name/$name" || cp "bin/$name" "bin/image-$name/$name"
done
cmp -s /etc/ssl/certs/ca-certificates.crt bin/image-pose-runner/ca-certificates.crt ||
  cp /etc/ssl/certs/ca-certificates.crt bin/image-pose-runner/

hack/image/build.sh manager images/manager/Dockerfile bin/image-manager
hack/image/build.sh pose-runner images/pose-runner/Dockerfile bin/image-pose-runner
hack/image/build.sh staged-engine hack/e2e/staged/Dockerfile bin/image-staged-engine
hack/image/build.sh media images/media/Dockerfile images/media debian
hack/image/build.sh mediapipe images/mediapipe/Dockerfile images/mediapipe media
