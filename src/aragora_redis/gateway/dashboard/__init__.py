"""`/dashboard`: the topology, the failover while it happens, and a lab's levers, in a browser."""
