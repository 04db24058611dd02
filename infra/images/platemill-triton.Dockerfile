# Triton as it stands beside the workers of a night: the official server with what our models import.
# The models themselves come from the other image or from a bucket when a pod starts.
#
#   docker build --file infra/images/platemill-triton.Dockerfile --tag platemill-triton:0.1.0 .
FROM nvcr.io/nvidia/tritonserver:24.12-py3

WORKDIR /opt/platemill
COPY pyproject.toml README.md LICENSE ./
COPY infra/constraints/triton.txt infra/constraints/
COPY src src
# The server runs models with the system's Python. numpy stays below 2: see infra/constraints.
RUN pip install --no-cache-dir --break-system-packages \
    --constraint infra/constraints/triton.txt . onnxruntime torch

# Our own `pytorch` backend stands in for the native one: the networks then run by the same code, in
# the same precision and in the same batches as in the embedded server, and answer the same.
RUN mkdir backends && cp -r /opt/tritonserver/backends/python backends/python
COPY infra/triton/backends backends

USER 1000
CMD ["tritonserver", "--model-repository=/models", "--backend-directory=/opt/platemill/backends"]
