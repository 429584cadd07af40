"""What the exporter and a gateway really say: `python -m tests.artefacts.scrape --write`.

The files in scrapes/ were made by it, on a lab that had just failed over, and on a cluster. The
names in rules and dashboard are checked against them.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tests.artefacts.programs import lacking
from tests.artefacts.site import cluster, site

SCRAPES = Path(__file__).parent / "scrapes"
_NOBODYS_BUSINESS = re.compile(r'(?<=os=")[^"]*|(?<=executable=")[^"]*|(?<=config_file=")[^"]*')


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.artefacts.scrape")
    parser.add_argument("--write", action="store_true", help="write them; else print their sizes")
    write = parser.parse_args().write
    if why := lacking("prometheus-redis-exporter"):
        sys.stderr.write(f"{why}\n")
        return 1
    with tempfile.TemporaryDirectory() as directory, site(Path(directory)) as ours:
        ours.fail_over()
        texts = {
            "primary": ours.scrape("primary"),
            "replica": ours.scrape("replica-0"),
            "sentinel": ours.scrape("sentinel-0"),
            "gateway": ours.metrics(),
        }
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory)) as scrape:
        texts |= {"cluster-primary": scrape("redis-0"), "cluster-replica": scrape("redis-3")}
    for name, text in texts.items():
        sys.stdout.write(f"{name}.prom  {len(text)} characters\n")
        if write:
            SCRAPES.mkdir(exist_ok=True)
            (SCRAPES / f"{name}.prom").write_text(_NOBODYS_BUSINESS.sub("", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
