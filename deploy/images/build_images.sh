#!/usr/bin/env bash
# Build the images of a cluster's nodes: build_images.sh IMAGE...   (`make images`; docs/images.md)
# IMAGE is one of rollout, learner, sandbox-executor, driver, guest. From the environment:
#   BASE    public   python:3.11-slim from a registry
#           debian   Debian 12 made here from its packages (debootstrap, root); no registry is asked
#           auto     public where its base is here or a registry answers, else debian (the default)
#           NAME     an image with Python 3.11 and its venv module, for a site without a network
#   WHEELS  a folder that wheel_folder.sh filled: nothing else is asked for packages
#   GPU     1: the GPU lock (rollout and learner; the others are the same in both)
#   TAG     the tag of every image ("latest", with GPU "latest-gpu")
#   PACKAGES  Debian packages that a base given by name lacks
#   GUEST_BASE  an image with Python 3.12 or newer for the guest (the sandbox image, made if need be)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
base=${BASE:-auto}
wheels=${WHEELS:-}
gpu=${GPU:-}
tag=${TAG:-latest${gpu:+-gpu}}
packages=${PACKAGES:-}
guest_base=${GUEST_BASE:-}
own_base=stepcoder-base:bookworm
public_base=python:3.11-slim

say() { echo "images: $*"; }
die() { echo "images: $*" >&2; exit 1; }
. "$here/roles.sh"

[ $# -gt 0 ] || die "name at least one of $ROLES"
for role in "$@"; do extras_of "$role" "$gpu" >/dev/null; done
command -v docker >/dev/null || die "no docker command; install Docker (Debian: apt-get install docker.io)"
docker info >/dev/null 2>&1 || die "no Docker engine answers; start one (dockerd, or systemctl start docker)"
[ -z "$wheels" ] || [ -n "$(ls "$wheels"/*.whl 2>/dev/null)" ] ||
    die "WHEELS=$wheels holds no wheel; fill it with deploy/images/wheel_folder.sh where there is a network"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

debian_base() {
    command -v debootstrap >/dev/null || die "debootstrap is missing (apt-get install debootstrap)"
    [ "$(id -u)" = 0 ] || die "debootstrap needs root; run this as root, or use BASE=public"
    say "making $own_base from Debian's packages (a minute)"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,bubblewrap,wget,libnuma1 \
        bookworm "$work/root" >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; die "debootstrap failed"; }
    rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work/root/usr/share/doc"
    tar -C "$work/root" -c . | docker import - "$own_base" >/dev/null
    rm -rf "$work/root"
}

has() { docker image inspect "$1" >/dev/null 2>&1; }

sandbox_way=auto
case $base in public | debian) sandbox_way=$base ;; esac
context=

prepare() { # once, where a node's image is wanted
    [ -z "$context" ] || return 0
    if [ "$base" = auto ]; then
        if has "$public_base" || timeout 20 docker pull -q "$public_base" >/dev/null 2>&1; then
            base=public
        else
            base=debian
        fi
        say "base: $base"
    fi
    case $base in
    public)
        base=$public_base
        packages="wget bubblewrap libnuma1${gpu:+ gcc libc6-dev} $packages"
        ;;
    debian)
        base=$own_base
        has "$base" || debian_base
        ;;
    *) has "$base" || docker pull -q "$base" >/dev/null || die "no image $base here, and no registry has it" ;;
    esac

    context=$work/context
    mkdir -p "$context/wheels" "$context/project"
    tar -C "$repository" --exclude=__pycache__ --exclude='*.egg-info' -c pyproject.toml README.md \
        stepcoder_dist actors learner sandbox deploy/locks deploy/runs deploy/models/ladder-sft |
        tar -C "$context/project" -x
    lock=cpu
    [ -z "$gpu" ] || lock=gpu
    if [ -n "$wheels" ]; then
        # links cost no room; on another file system copies are made
        cp -l "$wheels"/*.whl "$context/wheels/" 2>/dev/null || cp "$wheels"/*.whl "$context/wheels/"
        index="--no-index --find-links /src/wheels"
    elif [ $lock = cpu ]; then
        index="--extra-index-url https://download.pytorch.org/whl/cpu"
    else
        index=
    fi
}

built() { # NAME, then what docker build is told
    local name=$1
    shift
    docker build -t "$name" "$@" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; die "$name was not built"; }
}

build_guest() { # NAME
    if [ -z "$guest_base" ]; then
        guest_base=stepcoder-sandbox:latest
        "$here/build_sandbox_image.sh" "$sandbox_way" "$guest_base"
    fi
    built "$1" -f "$here/guest.Dockerfile" --build-arg BASE="$guest_base" "$repository/sandbox/attached"
}

build_node() { # NAME ROLE
    built "$1" --network host -f "$here/node.Dockerfile" \
        --build-arg BASE="$base" --build-arg LOCK="$lock" --build-arg INDEX="$index" \
        --build-arg EXTRAS="$(extras_of "$2" "$gpu")" --build-arg PACKAGES="$packages" "$context"
}

for role in "$@"; do
    name=stepcoder-$role:$tag
    began=$SECONDS
    say "building $name"
    case $role in
    guest) build_guest "$name" ;;
    *)
        prepare
        build_node "$name" "$role"
        ;;
    esac
    megabytes=$(($(docker image inspect -f '{{.Size}}' "$name") / 1000000))
    say "$name is ready: $megabytes MB, $((SECONDS - began)) s"
done
