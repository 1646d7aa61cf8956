#!/usr/bin/env bash
# Builds every image of the project for the local cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

# An image made from scratch holds one binary: its context is a folder of it.
for name in manager pose-runner pose-gateway staged-engine; do
  mkdir -p "bin/image-$name"
  cmp -s "bin/$name" "bin/image-$name/$name" || cp "bin/$name" "bin/image-$name/$name"
done
for name in pose-runner pose-gateway; do
  cmp -s /etc/ssl/certs/ca-certificates.crt "bin/image-$name/ca-certificates.crt" ||
    cp /etc/ssl/certs/ca-certificates.crt "bin/image-$name/"
done

# The staged image of PHALP: the stand-ins of the adapter's tests.
staged=bin/image-staged-phalp
rm -rf "$staged"
mkdir -p "$staged"
cp -r images/phalp/tests/standins images/phalp/tests/standin_weights.py hack/e2e/staged-phalp/sitecustomize.py "$staged/"
find "$staged" -name __pycache__ -prune -exec rm -rf {} +

hack/image/build.sh manager images/manager/Dockerfile bin/image-manager
hack/image/build.sh pose-runner images/pose-runner/Dockerfile bin/image-pose-runner
hack/image/build.sh pose-gateway images/pose-gateway/Dockerfile bin/image-pose-gateway
hack/image/build.sh staged-engine hack/e2e/staged/Dockerfile bin/image-staged-engine
hack/image/build.sh media images/media/Dockerfile images/media debian
hack/image/build.sh mediapipe images/mediapipe/Dockerfile images/mediapipe media
hack/image/build.sh onnx-pose images/onnx-pose/Dockerfile images/onnx-pose media
hack/image/build.sh phalp-adapter images/phalp/Dockerfile images/phalp
hack/image/build.sh openpose-adapter images/openpose/Dockerfile images/openpose
hack/image/build.sh staged-phalp hack/e2e/staged-phalp/Dockerfile "$staged" mediapipe
