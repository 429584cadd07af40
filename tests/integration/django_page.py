"""Run the Python of a how-to page about Django, in a process of its own: the first is its settings.

    python -m tests.integration.django_page PAGE

What follows is the project's module of URLs, a block after the other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import django
from django.conf import settings
from tests.integration.test_how_to import Block, blocks

PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
"""Those of `startproject`."""


def run(page: Path) -> None:
    first, *others = (block for block in blocks(page) if block.language == "python")
    said = ModuleType("said")
    execute(page, first, said)
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="page",
        SECRET_KEY="k" * 50,
        STATIC_URL="static/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": PROCESSORS},
            }
        ],
        **{name: value for name, value in vars(said).items() if name.isupper()},
    )
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 - Django must be set up first

    views = sys.modules["page"] = ModuleType("page")
    views.urlpatterns = []  # type: ignore[attr-defined]
    call_command("migrate", verbosity=0)
    for block in others:
        execute(page, block, views)
    call_command("check", fail_level="WARNING")


def execute(page: Path, block: Block, module: ModuleType) -> None:
    """An error names the page's own line."""
    code = compile("\n" * block.line + block.code, page.name, "exec")
    exec(code, vars(module))  # noqa: S102 - that is what it is for


if __name__ == "__main__":
    run(Path(sys.argv[1]))
