"""The local engine: InferenceServices on one machine, with Envoy in front."""
