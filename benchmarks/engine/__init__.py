"""What the local engine costs while it idles, and how soon a service is ready."""
