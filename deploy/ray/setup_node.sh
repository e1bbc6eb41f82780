#!/usr/bin/env bash
# Prepare this machine as a node, with the packages of the lock that its roles need:
#     setup_node.sh ROLE... [PACKAGE...]     (GPU=1: the GPU lock; VENV=folder, by default ~/stepcoder-venv)
# A role is one of driver, rollout, learner, sandbox-executor. Run again, it changes what is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
gpu=${GPU:-}
venv=${VENV:-$HOME/stepcoder-venv}
die() { echo "setup_node: $*" >&2; exit 1; }
. "$here/../images/roles.sh"

[ $# -ge 1 ] || die "usage: setup_node.sh ROLE...; a role is one of driver, rollout, learner, sandbox-executor"
cd "$here/../.."
judges=
extras=()
more=()
for role in "$@"; do
    case $role in
    driver | rollout | learner | sandbox-executor)
        names=$(extras_of "$role" "$gpu")
        for name in ${names//,/ }; do extras+=(--extra "$name"); done
        [ "$role" != sandbox-executor ] || judges=yes
        ;;
    *) more+=("$role") ;; # a package next to those of the lock
    esac
done
[ ${#extras[@]} -gt 0 ] || die "'$*' names no role; use one or more of driver, rollout, learner, sandbox-executor"

lock=cpu
[ -z "$gpu" ] || lock=gpu
override=(--override deploy/locks/cpu.overrides)
torch=(--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)
[ $lock = cpu ] || { override=() torch=(); }
[ $lock = gpu ] || [ -z "${PIP_FIND_LINKS:-}" ] || torch=(--find-links "$PIP_FIND_LINKS")

# Python 3.11 is the machine's, or else one that uv fetches.
uv=$HOME/.stepcoder-uv/bin/uv
if [ ! -x "$uv" ]; then
    python3 -m venv "${uv%/bin/uv}" 2>/dev/null ||
        { sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv && python3 -m venv "${uv%/bin/uv}"; }
    "${uv%uv}pip" install --quiet --disable-pip-version-check uv==0.13.8
fi
[ -x "$venv/bin/python" ] || "$uv" venv --quiet --python 3.11 "$venv"
"$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "${torch[@]}" "${override[@]}" \
    -c deploy/locks/$lock.txt -r pyproject.toml "${extras[@]}" "${more[@]}"
"$uv" pip install --quiet --no-deps --python "$venv/bin/python" .

# Ray's launcher runs each command in a login shell.
profile=/etc/profile.d/stepcoder.sh
printf '%s\n' "PATH=$venv/bin:\$PATH" 'export RAY_AUTH_MODE=token STEPCODER_RUNS=/shared/runs RAY_USAGE_STATS_ENABLED=0' |
    sudo tee $profile >/dev/null

if [ -n "$judges" ] && [ -z "${NO_ENGINE:-}" ]; then # NO_ENGINE=1: bubblewrap, or guests that others start
    if ! command -v docker >/dev/null; then
        sudo apt-get update -qq && sudo apt-get install -y -qq docker.io
    fi
    if ! docker info >/dev/null 2>&1; then
        # The socket is this user's, also after a new start of the machine: no new login is needed for a group.
        sudo mkdir -p /etc/systemd/system/docker.socket.d
        printf '[Socket]\nSocketGroup=%s\n' "$(id -gn)" |
            sudo tee /etc/systemd/system/docker.socket.d/group.conf >/dev/null
        sudo systemctl daemon-reload
        sudo systemctl restart docker.socket docker.service
    fi
    deploy/images/build_sandbox_image.sh auto stepcoder-sandbox:latest
fi
