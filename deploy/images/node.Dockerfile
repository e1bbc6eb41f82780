# A node of the cluster: rollout, learner, sandbox-executor or driver. They differ in EXTRAS alone.
# build_images.sh (`make images`) stages the context: the packages, deploy/, and wheels/, a folder that is
# empty unless the build may not use the network. Any builder will do; BuildKit is not needed.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
COPY wheels /src/wheels
# pip's options for where packages come from; uv takes the same ones
ARG INDEX=
RUN python3 -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else \
        "the lock is for Python 3.11; this base has %d.%d" % sys.version_info[:2])' \
    && python3 -m venv /build && /build/bin/pip install --quiet --no-cache-dir $INDEX uv==0.13.8 \
    && python3 -m venv --without-pip /opt/stepcoder/venv
# Dependencies come before our own source: an edit does not install them again.
COPY project/pyproject.toml /src/
COPY project/deploy/locks /src/deploy/locks
ARG LOCK=cpu
ARG EXTRAS
RUN test -n "$EXTRAS" \
    && override= && if [ "$LOCK" = cpu ]; then override="--override /src/deploy/locks/cpu.overrides"; fi \
    && case "$INDEX" in *--extra-index-url*) INDEX="$INDEX --index-strategy unsafe-best-match" ;; esac \
    && extras=$(printf -- '--extra %s ' $(echo "$EXTRAS" | tr , ' ')) \
    && /build/bin/uv pip install --quiet --no-cache --compile-bytecode $INDEX $override $extras \
        --python /opt/stepcoder/venv/bin/python -c "/src/deploy/locks/$LOCK.txt" -r /src/pyproject.toml
COPY project /src/project
RUN /build/bin/uv pip install --quiet --no-cache --compile-bytecode $INDEX --no-deps \
        --python /opt/stepcoder/venv/bin/python /src/project \
    && mkdir -p /opt/stepcoder/deploy/models && cp -r /src/project/deploy/runs /opt/stepcoder/deploy/ \
    && cp -r /src/project/deploy/models/ladder-sft /opt/stepcoder/deploy/models/

FROM ${BASE}
# Debian packages that the base lacks. vLLM's CPU build links libnuma, KubeRay's probes call wget, and a
# GPU's Triton compiles with gcc.
ARG PACKAGES=
RUN test -z "$PACKAGES" || (apt-get update && apt-get install -y --no-install-recommends $PACKAGES \
        && rm -rf /var/lib/apt/lists/*)
# A new named volume takes the owner of the folder that it covers. A login shell (KubeRay starts Ray with
# one) sets PATH again.
RUN useradd --uid 1000 --create-home stepcoder \
    && install -d -o 1000 -g 1000 /shared /shared/runs /cache /guests \
    && echo 'PATH=/opt/stepcoder/venv/bin:$PATH' > /etc/profile.d/stepcoder.sh
COPY --from=build /opt/stepcoder /opt/stepcoder
ENV PATH=/opt/stepcoder/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 1000:1000
WORKDIR /opt/stepcoder
CMD ["stepcoder", "--help"]
