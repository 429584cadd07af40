"""The settings of the example; what Redis is and which policies there are is said by ARAGORA_*."""

from __future__ import annotations

import os
from pathlib import Path

PLAIN_HTTP = os.environ.get("EXAMPLE_PLAIN_HTTP") == "1"

SECRET_KEY = os.environ.get("EXAMPLE_SECRET_KEY", "for development alone")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "views"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "aragora_redis.web.django",  # has `manage.py check` look at what follows
]
MIDDLEWARE = [
    "aragora_redis.web.django.ProblemMiddleware",
    "aragora_redis.web.django.RateLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "aragora_redis.web.django.SessionMiddleware",  # in the place of Django's
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("EXAMPLE_DATABASE", Path(__file__).with_name("db.sqlite3")),
    }
}

ARAGORA = {"LIMITS": {"api": {"exempt": ["/healthz"]}}}

SESSION_ENGINE = "aragora_redis.web.django.sessions"
SESSION_COOKIE_AGE = 30 * 60  # seconds without use
# Browsers send a `__Host-` cookie over HTTPS only.
SESSION_COOKIE_NAME = "session" if PLAIN_HTTP else "__Host-session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not PLAIN_HTTP
