"""Kubeflow pipelines and components: their bodies only call the library."""
