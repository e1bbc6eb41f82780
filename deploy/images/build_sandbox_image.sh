#!/bin/sh
# Build the sandbox image: build_sandbox_image.sh [auto|public|debian] [TAG]
#   public  sandbox.Dockerfile on a public slim Python base
#   debian  Python from Debian's packages (debootstrap, root), where no registry can be reached
#   auto    public where its base is there or a registry answers, else debian
# Does nothing when the image is up to date. From the environment:
#   SANDBOX_BASE      another public base with Python 3.12 or newer (python:3.13-slim)
#   SANDBOX_PACKAGES  packages that programs may import: "numpy sortedcontainers==2.4.0"
set -eu

how=${1:-auto}
tag=${2:-stepcoder-sandbox:latest}
base=${SANDBOX_BASE:-python:3.13-slim}
suite=${SANDBOX_SUITE:-trixie}
packages=${SANDBOX_PACKAGES:-}
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "sandbox image: $*"; }
die() { echo "sandbox image: $*" >&2; exit 1; }

command -v docker >/dev/null || die "no docker command; install Docker (Debian: apt-get install docker.io)"
docker info >/dev/null 2>&1 || die "no Docker engine answers; start one (dockerd, or systemctl start docker)"

hash=$(cat "$here/sandbox.Dockerfile" "$0" | sha256sum | cut -c1-16)
recipe() { echo "$1-$hash-$base-$suite${packages:+-$packages}"; }
built=$(docker image inspect -f '{{index .Config.Labels "stepcoder.sandbox.recipe"}}' "$tag" 2>/dev/null || true)
for way in public debian; do
    if [ "$built" = "$(recipe $way)" ] && { [ "$how" = auto ] || [ "$how" = $way ]; }; then
        say "$tag is up to date"
        exit 0
    fi
done

has_base() { docker image inspect "$base" >/dev/null 2>&1; }

if [ "$how" = auto ]; then
    if has_base; then
        how=public
        why="$base is here already"
    elif why=$(timeout 20 docker pull -q "$base" 2>&1); then
        how=public
        why="a registry answered"
    else
        how=debian
        why="no registry answered for $base"
    fi
    say "from ${how} (${why})"
fi

recipe=$(recipe "$how")
case $how in
public)
    docker build -q -t "$tag" --build-arg BASE="$base" --build-arg RECIPE="$recipe" \
        --build-arg PACKAGES="$packages" \
        -f "$here/sandbox.Dockerfile" "$here" >/dev/null
    ;;
debian)
    command -v debootstrap >/dev/null || die "debootstrap is missing (apt-get install debootstrap)"
    [ "$(id -u)" = 0 ] || die "debootstrap needs root; run this as root, or use public"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    say "installing Python from Debian $suite (under a minute)"
    debootstrap --variant=minbase --include=python3-minimal,libpython3-stdlib \
        "$suite" "$work/rootfs" >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; die "debootstrap failed"; }
    if [ -n "$packages" ]; then
        # the new system has no pip: ours fetches wheels for its Python
        version=$(chroot "$work/rootfs" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "adding $packages for Python $version"
        # shellcheck disable=SC2086 # several packages are several words
        ${PYTHON:-python3} -m pip install --quiet --disable-pip-version-check --no-compile \
            --target "$work/rootfs/usr/local/lib/python$version/dist-packages" --python-version "$version" \
            --only-binary :all: --platform "manylinux_2_28_$(uname -m)" \
            --platform "manylinux2014_$(uname -m)" $packages >"$work/log" 2>&1 ||
            { tail -5 "$work/log" >&2; die "pip cannot fetch $packages"; }
    fi
    rm -rf "$work/rootfs/var/cache/apt" "$work/rootfs/var/lib/apt/lists" "$work/rootfs/usr/share/doc"
    tar -C "$work/rootfs" -c . | docker import -c "LABEL stepcoder.sandbox.recipe=\"$recipe\"" \
        -c "WORKDIR /tmp" -c 'CMD ["python3", "--version"]' - "$tag" >/dev/null
    ;;
*)
    die "unknown way '$how'; use auto, public or debian"
    ;;
esac
say "$tag is ready ($(docker run --rm --network none "$tag" python3 --version))"
