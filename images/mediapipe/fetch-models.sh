#!/bin/sh
# Puts the model files into the folder $2, taken from the wheel pinned in requirements-models.txt, with the pip of python $1.
set -eu
python=$1 target=$2
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

# The wheel's tag is named, so that a Python or machine it was not built for can take the models too.
"$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --dest "$wheels" --requirement "$here/requirements-models.txt"
mkdir -p "$target"
for module in pose_detection/pose_detection pose_landmark/pose_landmark_full; do
  "$python" -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
    "$wheels"/*.whl "mediapipe/modules/$module.tflite" >"$target/${module##*/}.tflite"
done
(cd "$target" && sha256sum --check --quiet "$here/models.sha256")
