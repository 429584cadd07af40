"""What stands such a Redis up: files rendered for one deployment.

`plan.py` says what is wanted, `environment.py` what of the settings goes along, `render.py` makes
the files from `templates/`, all PURE; `files.py` writes them. `deploy/` of the repository holds
what the defaults render (`python -m aragora_redis.ops.manifests --write`).
"""

from .environment import carried
from .files import write
from .plan import Plan
from .render import Kind, render, render_tree

__all__ = ["Kind", "Plan", "carried", "render", "render_tree", "write"]
