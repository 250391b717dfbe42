"""Latency, throughput and memory: in process, and of live endpoints.

rounds      what a round of requests took, and rounds made into figures
calls       rounds of calls in this process
endpoint    a live endpoint: its protocol, and the requests that it is sent
generator   rounds of requests to an endpoint: a process of its own
echo        what the generator's own ceiling is measured against: a process too
drive       these two processes, as seen from here
sweep       ONNX Runtime's settings: which to try, which to take
models      native against converted
"""
