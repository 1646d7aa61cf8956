#!/usr/bin/env bash
# Installs the Debian packages that the local cluster, the images and the
# demo need, if any is missing; otherwise it is done in a moment.
#
#   debian-packages.sh           install what is missing
#   debian-packages.sh --check   only say what is missing; exit 1 if anything is
set -euo pipefail

packages=(
  chromium                                    # tests of the gateway's page
  buildah mmdebstrap                          # images without a Docker engine
  conntrack iproute2 iptables nftables        # nodes' networks, kube-proxy
  containerd containernetworking-plugins runc # nodes' container runtime
  ffmpeg opencv-doc                           # video tools, the demo's video
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ ${1:-} == --check ]]; then
  echo "missing Debian packages: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
  echo "not root: run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "installing Debian packages: ${missing[*]}"
# Services must not start: the cluster runs its own containerd for each node.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
# A source that cannot be reached does not matter as long as the packages come.
apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
