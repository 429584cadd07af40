"""A port for a server that a test starts."""

from aragora_redis.lab.ports import free_ports


def free_port() -> int:
    """One that nobody listens on, nor on its bus port, and that no outgoing connection is given."""
    (port,) = free_ports(1, 0, bus=True).data
    return port
