"""Read a Terraform module, for the tests that need no terraform."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hcl2

_OPTIONS = hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True)
_ENVIRONMENT = re.compile(r"output\.aragora_environment == tomap\(\{(.*?)\}\)", re.DOTALL)
_PAIR = re.compile(r'(\w+) += "([^"]*)"')
_REFERENCE = re.compile(r"\b(var|local|(?:data\.)?(?:aws|google|azurerm)_\w+)\.(\w+)")
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "dynamic", "__is_block__"}
"""What Terraform itself takes in a resource."""


@dataclass(frozen=True)
class Module:
    """The files of one module, parsed at the first use."""

    path: Path

    @cached_property
    def files(self) -> dict[str, dict[str, Any]]:
        return {
            file.name: hcl2.loads(file.read_text(), serialization_options=_OPTIONS)
            for file in sorted(self.path.glob("*.tf"))
        }

    def blocks(self, kind: str) -> Iterator[dict[str, Any]]:
        for parsed in self.files.values():
            yield from parsed.get(kind, ())

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        """The blocks with one label: variables and outputs."""
        return {name: body for block in self.blocks(kind) for name, body in block.items()}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Resources and data by address, such as `data.azurerm_location.aragora`."""
        return {
            f"{prefix}{kind}.{name}": body
            for keyword, prefix in (("resource", ""), ("data", "data."))
            for block in self.blocks(keyword)
            for kind, named in block.items()
            for name, body in named.items()
        }

    @property
    def names(self) -> set[str]:
        """All that a reference may lead to."""
        local = {name for block in self.blocks("locals") for name in block} - META
        return (
            {f"var.{name}" for name in self.named("variable")}
            | {f"local.{name}" for name in local}
            | set(self.resources)
        )

    @property
    def references(self) -> set[str]:
        """All that something refers to, but a variable from within itself."""
        found = set()
        for parsed in self.files.values():
            for kind, blocks in parsed.items():
                for block in blocks:
                    own = {f"var.{name}" for name in block} if kind == "variable" else set()
                    found |= {".".join(each) for each in _REFERENCE.findall(str(block))} - own
        return found

    @property
    def environments(self) -> list[dict[str, str]]:
        """What the module's own tests, which terraform runs, say that it gives to services."""
        texts = (file.read_text() for file in sorted(self.path.glob("tests/*.tftest.hcl")))
        return [dict(_PAIR.findall(each)) for text in texts for each in _ENVIRONMENT.findall(text)]


def misfits(body: Mapping[str, Any], block: Mapping[str, Any], where: str) -> Iterator[str]:
    """How a body differs from what the schema of its block allows and demands."""
    attributes, blocks = block.get("attributes", {}), block.get("block_types", {})
    for name in sorted(set(body) - META - set(attributes) - set(blocks)):
        yield f"{where} has no {name}"
    for name, each in attributes.items():
        if name in body and not {"required", "optional"} & set(each):
            yield f"{where}.{name} cannot be set"
        if each.get("required") and name not in body:
            yield f"{where} needs {name}"
    dynamic = {name: each for block in body.get("dynamic", ()) for name, each in block.items()}
    for name, each in blocks.items():
        given = [*body.get(name, ()), *dynamic.get(name, {}).get("content", ())]
        if len(given) < each.get("min_items", 0):
            yield f"{where} needs {name}"
        for inner in given:
            yield from misfits(inner, each["block"], f"{where}.{name}")


def misaligned(text: str) -> Iterator[int]:
    """Lines that `terraform fmt` would change, as far as white space tells without a parser."""
    group: list[tuple[str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if "\t" in line or line != line.rstrip() or indent % 2:
            yield number
        found = re.match(r"( *)[\w.\"-]+ +(?== )", line)
        # A value of several lines stands alone.
        if found is None or line.endswith(("(", "[", "{")):
            group = []
            continue
        if group and group[-1] != (found[1], found.end()) and group[-1][0] == found[1]:
            yield number
        group.append((found[1], found.end()))
