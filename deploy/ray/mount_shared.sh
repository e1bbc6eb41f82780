#!/usr/bin/env bash
# Mount the file system that all nodes share (NFS 4, such as EFS) at /shared: SHARED=HOST:/PATH mount_shared.sh
set -euo pipefail
: "${SHARED:?name the file system: SHARED=HOST:/PATH mount_shared.sh}"
if mountpoint -q /shared; then exit 0; fi
command -v mount.nfs4 >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq nfs-common; }
sudo mkdir -p /shared
sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,retrans=2 "$SHARED" /shared
[ -w /shared ] || sudo chown "$(id -u):$(id -g)" /shared
