# The demo on the CPU: docker build -t vaebias . && docker run --rm -v $PWD/demo:/demo vaebias
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ENV VAEBIAS_CUDA=OFF
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir \
    --extra-index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt .

FROM python:3.12-slim
# libgomp: the kernels' threads
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["vaebias"]
CMD ["demo", "--out", "/demo"]
