"""The REST edge: KServe's V1 protocol and the Open Inference Protocol (V2)."""
