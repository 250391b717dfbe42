"""The gRPC edge: the Open Inference Protocol's `inference.GRPCInferenceService`."""
