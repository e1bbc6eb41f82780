# The guest that waits for an executor: `sandbox.backend = "attached"`. Python and one file. The socket's path is
# its argument: `docker run IMAGE /guests/guest.sock`. It has to be process 1, so nothing may stand before it.
ARG BASE=python:3.13-slim
FROM ${BASE}
COPY guest_listener.py /guest_listener.py
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["python3", "/guest_listener.py"]
CMD ["/guests/guest.sock"]
