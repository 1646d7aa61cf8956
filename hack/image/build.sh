#!/usr/bin/env bash
# Builds one container image without a Docker engine and exports it for the
# local cluster.
#
#   hack/image/build.sh NAME DOCKERFILE CONTEXT [BASE-NAME]
#
# NAME becomes localhost/pose-operator/NAME:dev and .cluster/images/NAME.tar (a
# docker-archive). With BASE-NAME, the Dockerfile's argument BASE is that image:
# "debian" for a minimal Debian made by mmdebstrap, or an image built before.
# Nothing is built when the inputs are the same as last time; archives are kept
# across clones in $POSE_CACHE_DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

name=$1 dockerfile=$2 context=$3 base=${4:-}
cache=${POSE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pose-operator}/images
out=.cluster/images
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
mkdir -p "$cache" "$out"
# One build at a time on this machine: clones share buildah's storage.
exec 9>"$cache/lock"
flock 9

debian=localhost/pose-debian:bookworm
case $base in
  "") base_image="" ;;
  debian) base_image=$debian ;;
  # By the key of its inputs: the tag dev may be another clone's.
  *) base_image=localhost/pose-operator/$base:$(<"$out/$base.key") ;;
esac

# The key of everything that goes in: the files of the context (what git tracks
# or would track of it; all of bin/), the Dockerfile, and the key of the base.
inputs() {
  cat "$dockerfile"
  if [[ $context == bin/* ]]; then
    find "$context" -type f -print0 | sort -z | xargs -0 sha256sum
  else
    git ls-files -co --exclude-standard -z -- "$context" | sort -z | xargs -0 sha256sum
  fi
  if [[ -n $base && $base != debian ]]; then cat "$out/$base.key"; fi
}
key=$(inputs | sha256sum | cut -c1-16)

install_archive() {
  # A hard link where both lie on one file system, a copy elsewhere.
  cp -l --remove-destination "$cache/$name-$key.tar" "$out/$name.tar" 2>/dev/null ||
    cp --remove-destination "$cache/$name-$key.tar" "$out/$name.tar"
  echo "$key" >"$out/$name.key"
}

if [[ -f $out/$name.tar && -f $out/$name.key && $(<"$out/$name.key") == "$key" ]]; then
  exit 0
fi
if [[ -f $cache/$name-$key.tar ]]; then
  install_archive
  echo "image $name: unchanged, from the cache"
  exit 0
fi

make_debian() {
  buildah images -q "$debian" >/dev/null 2>&1 && return
  echo "image pose-debian: mmdebstrap (once)"
  local tar=$cache/debian.tar container
  if [[ ! -f $tar ]]; then
    mmdebstrap --quiet --variant=minbase \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
      --aptopt='APT::Install-Recommends "false"' bookworm "$tar.part"
    mv "$tar.part" "$tar"
  fi
  container=$(buildah from scratch)
  buildah add -q "$container" "$tar" / >/dev/null
  buildah commit -q --rm "$container" "$debian" >/dev/null
}

# The base must be in buildah's own storage, not only in an archive.
have_base() {
  if [[ $base == debian ]]; then
    make_debian
  elif [[ -n $base ]] && ! buildah images -q "$base_image" >/dev/null 2>&1; then
    buildah tag "$(buildah pull -q "docker-archive:$out/$base.tar")" "$base_image"
  fi
}

echo "image $name: building"
have_base
args=()
if [[ -n $base ]]; then args+=(--build-arg "BASE=$base_image"); fi
# pip inside a build trusts what this machine trusts. The bundle is mounted
# beside its usual place: mounted over it, dpkg could not replace it.
ca=/etc/ssl/certs/ca-certificates.crt
if [[ -f $ca ]]; then
  args+=(-v "$ca:/run/build-ca.crt:ro" --build-arg PIP_CERT=/run/build-ca.crt)
fi
log=$out/$name.log
if ! buildah bud --layers=false --pull-never -q "${args[@]}" -t "localhost/pose-operator/$name:dev" -f "$dockerfile" "$context" >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  echo "image $name: failed; the whole log is $log" >&2
  exit 1
fi
buildah tag "localhost/pose-operator/$name:dev" "localhost/pose-operator/$name:$key"
part=$cache/$name-$key.tar.part
rm -f "$part"
buildah push -q "localhost/pose-operator/$name:dev" "docker-archive:$part:localhost/pose-operator/$name:dev" >/dev/null
mv "$part" "$cache/$name-$key.tar"
# One archive a name is enough; older ones go.
find "$cache" -maxdepth 1 -name "$name-*.tar" ! -name "$name-$key.tar" -delete
install_archive
echo "image $name: $(du -h "$out/$name.tar" | cut -f1)"
