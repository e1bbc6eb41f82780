# The sandbox holds nothing of ours: the guest is sent over standard input when a container starts
# (docs/decisions/0010). Any image with Python 3.12 or newer as `python3` will do.
ARG BASE=python:3.13-slim
FROM ${BASE}
ARG PACKAGES=
RUN if [ -n "$PACKAGES" ]; then pip install --no-cache-dir $PACKAGES; fi
ARG RECIPE=unknown
LABEL stepcoder.sandbox.recipe="${RECIPE}"
WORKDIR /tmp
CMD ["python3", "--version"]
