# R2D2 for NVIDIA GPUs: Horovod with NCCL, MPI and Gloo. Not built by us: no such base could be pulled (docs/containers.md).
#
#   docker build --tag r2d2-gpu --file docker/gpu.Dockerfile .
#
# NVIDIA's images on Rocky Linux, as these have Python 3.11, for which all versions are pinned. What both images share is
# said in Dockerfile.
ARG BUILD_BASE=nvidia/cuda:12.5.1-devel-rockylinux9
ARG BASE=nvidia/cuda:12.5.1-runtime-rockylinux9

FROM ${BUILD_BASE} AS builder
# hadolint ignore=DL3041
RUN dnf install --assumeyes --setopt=install_weak_deps=False findutils gcc-c++ make python3.11 python3.11-devel \
    && dnf clean all
ENV PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY Makefile ./
COPY requirements/build.txt requirements/gpu.txt requirements/horovod.txt requirements/runtime.txt requirements/serve.txt \
    requirements/train.txt requirements/
RUN sed -i '/^tensorflow-cpu==/d' requirements/train.txt \
    && cat requirements/gpu.txt >>requirements/train.txt \
    && make .venv/stamps/horovod .venv/stamps/serve HOROVOD_OPTIONS="HOROVOD_WITH_MPI=1 HOROVOD_GPU_OPERATIONS=NCCL \
        HOROVOD_CUDA_HOME=/usr/local/cuda HOROVOD_NCCL_INCLUDE=/usr/include HOROVOD_NCCL_LIB=/usr/lib64"
COPY . .
RUN docker/install.sh

FROM ${BASE}
# hadolint ignore=DL3041
RUN dnf install --assumeyes --setopt=install_weak_deps=False libstdc++ python3.11 shadow-utils \
    && dnf clean all
# ---------------------------------------------------------------------------------------------------------------------
RUN useradd --no-log-init --uid 1000 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin r2d2 \
    && install --directory --owner r2d2 --group r2d2 /data /scans \
    && install --directory --owner r2d2 --group r2d2 --mode 0700 /run/secrets
COPY --from=builder /app/.venv /app/.venv
COPY docker/healthy.py docker/make_secrets.py /app/
# All that is written goes to /data, a volume, and to /tmp: the rest may be read-only.
ENV PATH=/app/.venv/bin:$PATH \
    HOME=/data \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    R2D2_WORK_ROOT=/data/engine \
    R2D2_ZOO=/data/zoo
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8017
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 CMD ["python", "/app/healthy.py"]
ENTRYPOINT ["r2d2"]
CMD ["--help"]
