"""`aragora-redis migrate`: from a single Redis to Sentinel, a Redis Cluster or a service."""
