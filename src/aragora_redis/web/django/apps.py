"""The app: with `"aragora_redis.web.django"` in `INSTALLED_APPS`, `manage.py check` looks at it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_deployment, check_project


class AragoraRedisConfig(AppConfig):
    """Registers the system checks."""

    name = "aragora_redis.web.django"
    label = "aragora_redis"
    verbose_name = "aragora-redis"

    def ready(self) -> None:
        """Have mistakes told by `manage.py check`, and so before migrations and `runserver`."""
        register(check_project)
        register(check_deployment, deploy=True)
