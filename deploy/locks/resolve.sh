#!/usr/bin/env bash
# Resolve cpu.txt and gpu.txt from the .in files, for Python 3.11 on Linux x86-64.
set -euo pipefail
cd "$(dirname "$0")"
uv="../../.venv/bin/uv"
if [ -n "${PIP_FIND_LINKS:-}" ]; then
  torch=(--find-links "$PIP_FIND_LINKS")
else
  torch=(--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)
fi
common=(--python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links --quiet)
"$uv" pip compile cpu.in --override cpu.overrides "${torch[@]}" "${common[@]}" -o cpu.txt
"$uv" pip compile gpu.in --python-platform x86_64-manylinux_2_31 "${common[@]}" -o gpu.txt
