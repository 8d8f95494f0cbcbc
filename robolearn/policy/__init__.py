"""Policies as files: slots, bundle, export, runtime."""

import os

# From 1.29 on, ONNX Runtime's Linux builds report every session to their vendor unless disabled before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
