"""Write what the providers say about the resources that deploy/terraform uses.

The providers themselves come from a registry of their own. Their schemas are also in the
`cdktf-cdktf-provider-*` wheels on PyPI, as generated TypeScript, of which a hundred lines here make
what `terraform providers schema -json` prints. Run it when a module uses another resource, or to
move to another version; the wheels are about 50 MB each and nothing of them is kept:

    .venv/bin/python tests/artefacts/terraform/schema.py [--wheels DIRECTORY]
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODULES = HERE.parents[2] / "deploy" / "terraform"
WHEELS = {
    "aws": ("aws", "cdktf-cdktf-provider-aws==21.22.1"),
    "gcp": ("google", "cdktf-cdktf-provider-google==16.12.1"),
    "azure": ("azurerm", "cdktf-cdktf-provider-azurerm==14.23.1"),
}
# What the providers mark as sensitive, which the wheels leave out.
_SENSITIVE = re.compile(r"auth_token|auth_string|passwords|\w+_(access_key|connection_string)")
_TYPES = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "BooleanMap": ["map", "bool"],
    "NumberMap": ["map", "number"],
    "StringMapList": ["list", ["map", "string"]],
}
_FIELD = re.compile(
    r"// (?P<name>\w+) - computed: (?P<computed>\w+), optional: (?P<optional>\w+), "
    r"required: (?P<required>\w+)\n(?P<body>.*?\n  \})",
    re.DOTALL,
)
_NESTED = re.compile(r" = new (?P<kind>\w+?)(?P<many>List|Map|OutputReference)\(this, [^)]*?\);")
_SET = re.compile(r'List\(this, "\w+", true\)')
_GETTER = re.compile(
    r"(?P<set>Fn\.tolist\()?(?:this\.get(?P<type>\w+)Attribute|new cdktf\.(?P<computed>\w+))\("
)
_CLASS = re.compile(r"^export class (\w+) extends .*?^\}", re.DOTALL | re.MULTILINE)


def used(module: Path) -> Iterator[tuple[str, str]]:
    """The kinds and types of resources that a module has, such as ("data", "azurerm_location")."""
    for file in sorted(module.glob("*.tf")):
        yield from re.findall(r'^(resource|data) "(\w+)"', file.read_text(), re.MULTILINE)


def source(archive: tarfile.TarFile, name: str) -> str:
    """The TypeScript of a resource: JavaScript lost the comments, the source map kept them."""
    member = archive.extractfile(f"package/lib/{name}/index.js")
    assert member is not None
    found = re.search(rb"sourceMappingURL=data:application/json;base64,(\S+)", member.read())
    assert found is not None
    return str(json.loads(base64.b64decode(found[1]))["sourcesContent"][0])


def block(classes: dict[str, str], name: str) -> dict[str, Any]:
    """One class as a block: its attributes, and the blocks in it."""
    attributes: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    for field in _FIELD.finditer(classes[name]):
        flags = {
            flag: True for flag in ("computed", "optional", "required") if field[flag] == "true"
        }
        if _SENSITIVE.fullmatch(field["name"]):
            flags["sensitive"] = True
        nested = _NESTED.search(field["body"])
        if nested is None:
            attributes[field["name"]] = {"type": _scalar(field["body"]), **flags}
        elif "computed" in flags:
            attributes[field["name"]] = {"type": _objects(classes, nested, field["body"]), **flags}
        else:
            blocks[field["name"]] = _block_type(classes, field, nested)
    return {"attributes": attributes} | ({"block_types": blocks} if blocks else {})


def _scalar(body: str) -> Any:
    getter = _GETTER.search(body)
    assert getter is not None, body
    kind = _TYPES[getter["type"] or getter["computed"]]
    return ["set", kind[1]] if getter["set"] else kind


def _objects(classes: dict[str, str], nested: re.Match[str], body: str) -> Any:
    inner = block(classes, f"{nested['kind']}OutputReference")
    fields = {name: each["type"] for name, each in inner["attributes"].items()}
    return ["set" if _SET.search(body) else "list", ["object", fields]]


def _block_type(
    classes: dict[str, str], field: re.Match[str], nested: re.Match[str]
) -> dict[str, Any]:
    inner: dict[str, Any] = {"block": block(classes, f"{nested['kind']}OutputReference")}
    if field["name"] == "timeouts":
        return {"nesting_mode": "single", **inner}
    found: dict[str, Any] = {
        "nesting_mode": "set" if _SET.search(field["body"]) else "list",
        **inner,
    }
    if field["required"] == "true":
        found["min_items"] = 1
    if nested["many"] == "OutputReference":
        found["max_items"] = 1
    return found


def configuration(text: str) -> dict[str, Any]:
    """What the provider itself is given: nothing, but for the `features` of azurerm, left empty."""
    found = {"features"} & set(re.findall(r"// (\w+) - computed", text))
    return {
        "version": 0,
        "block": {"block_types": {name: {"nesting_mode": "list", "block": {}} for name in found}},
    }


def provider_schema(cloud: str, wheel: Path) -> dict[str, Any]:
    """What `terraform providers schema -json` says, cut down to what the module uses."""
    provider, requirement = WHEELS[cloud]
    schemas: dict[str, dict[str, Any]] = {"resource_schemas": {}, "data_source_schemas": {}}
    versions: set[str] = set()
    with zipfile.ZipFile(wheel) as zipped:
        (name,) = (each for each in zipped.namelist() if each.endswith(".jsii.tgz"))
        with zipped.open(name) as packed, tarfile.open(fileobj=packed) as archive:
            schemas["provider"] = configuration(source(archive, "provider"))
            for kind, resource in sorted(set(used(MODULES / cloud))):
                short = resource.removeprefix(f"{provider}_").replace("_", "-")
                path = short if kind == "resource" else f"data-{provider}-{short}"
                text = source(archive, path)
                versions |= set(re.findall(rf"providers/hashicorp/{provider}/([\d.]+)/docs", text))
                classes = {each[1]: each[0] for each in _CLASS.finditer(text)}
                top = path.replace("-", " ").title().replace(" ", "")
                kinds = "resource_schemas" if kind == "resource" else "data_source_schemas"
                schemas[kinds][resource] = {"version": 0, "block": block(classes, top)}
    (version,) = versions
    return {
        "format_version": "1.0",
        "written_by": f"tests/artefacts/terraform/schema.py from {requirement}",
        "provider_version": version,
        "provider_schemas": {f"registry.terraform.io/hashicorp/{provider}": schemas},
    }


def main() -> None:
    """Write `schema_*.json` beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="where the wheels are, to download none")
    given = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as downloads:
        directory = given or Path(downloads)
        for cloud, (provider, requirement) in WHEELS.items():
            if given is None:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
                subprocess.run([*pip, "--dest", directory, requirement], check=True)
            (wheel,) = directory.glob(f"cdktf_cdktf_provider_{provider}-*.whl")
            text = json.dumps(provider_schema(cloud, wheel), indent=1, sort_keys=True)
            (HERE / f"schema_{cloud}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
