"""The HTTP service: limits and revocations for services in any language."""
