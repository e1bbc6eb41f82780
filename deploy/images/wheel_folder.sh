#!/usr/bin/env bash
# Fill a folder with the wheels of some images, for a build without a network:
#     wheel_folder.sh FOLDER IMAGE...     (GPU=1: of the GPU lock)
# Run it where there is a network, with `make setup` done, and carry the folder to the site (docs/images.md).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
gpu=${GPU:-}
die() { echo "wheels: $*" >&2; exit 1; }
. "$here/roles.sh"

[ $# -ge 2 ] || die "usage: wheel_folder.sh FOLDER IMAGE...; an image is one of $ROLES"
folder=$(realpath -m "$1")
shift
cd "$here/../.."
uv=.venv/bin/uv
[ -x $uv ] || die "no $uv; run 'make setup' first"
lock=cpu
[ -z "$gpu" ] || lock=gpu
extras=()
for role in "$@"; do
    names=$(extras_of "$role" "$gpu")
    for name in ${names//,/ }; do extras+=(--extra "$name"); done
done
override=(--override deploy/locks/cpu.overrides)
torch=(--extra-index-url https://download.pytorch.org/whl/cpu)
[ $lock = cpu ] || { override=() torch=(); }
[ -z "${PIP_FIND_LINKS:-}" ] || torch=(--find-links "$PIP_FIND_LINKS")
strategy=()
case "${torch[*]:-}" in *--extra-index-url*) strategy=(--index-strategy unsafe-best-match) ;; esac

list=$(mktemp)
trap 'rm -f "$list"' EXIT
$uv pip compile --quiet pyproject.toml "${extras[@]}" -c deploy/locks/$lock.txt "${override[@]}" \
    "${torch[@]}" "${strategy[@]}" --python-version 3.11 --no-header --no-annotate -o "$list" >/dev/null
mkdir -p "$folder"
# `wheel`, not `download`: what has only a source archive is built here, where a compiler may be
.venv/bin/python -m pip wheel --quiet --no-deps "${torch[@]}" -w "$folder" -r "$list"
# what installs and builds: the versions of the lock
grep -E '^(uv|pip|setuptools)==' deploy/locks/$lock.txt >"$list"
.venv/bin/python -m pip wheel --quiet --no-deps -w "$folder" -r "$list"
echo "wheels: $(find "$folder" -name '*.whl' | wc -l) in $folder"
