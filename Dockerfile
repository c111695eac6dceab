# Two images of the framework, with the launcher as their command:
#   docker build --target cpu --build-arg TORCH_INDEX=URL -t threestudio-like .
#   docker build --target cuda -t threestudio-like:cuda .
# Both install torch first, each from its own build of the pinned version, then everything else as constraints.txt pins it.
# URL is the index of PyTorch's CPU builds, which its installation page names.

FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/threestudio_like
COPY setup.py pyproject.toml constraints.txt LICENSE README.md launch.py ./
COPY threestudio_like threestudio_like
COPY priors priors
COPY systems systems
COPY configs configs
COPY docs/images docs/images

FROM base AS cpu
ARG TORCH_INDEX
RUN pip install torch==2.13.0 --index-url "$TORCH_INDEX"
RUN pip install -e . -c constraints.txt
RUN useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["threestudio-like"]
CMD ["--help"]

FROM base AS cuda
# Triton compiles the launchers of its kernels
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN pip install torch==2.13.0 -c constraints.txt
RUN pip install -e . -c constraints.txt
RUN useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["threestudio-like"]
CMD ["--help"]
