"""Envoy in front of all services: its process, its configuration, and whose traffic goes where."""
