# docker run -v "$PWD:/var/task" -p 8080:8080 albgate app.handler
FROM python:3.11-slim AS builder
WORKDIR /src
COPY . .
# No pip in the environment: the base image has one, and nothing installs at run time.
RUN python -m venv --without-pip /opt/gateway \
 && pip --python /opt/gateway/bin/python install --no-cache-dir --disable-pip-version-check .

FROM python:3.11-slim
# tini (24 KB) is pid 1: it reaps what functions leave behind and passes SIGTERM on to the gateway.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gateway
COPY --from=builder /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /var/task
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["gateway", "health"]
ENTRYPOINT ["tini", "--", "gateway", "serve", "--host", "0.0.0.0"]
CMD ["--help"]
