"""Generator of documents: `python deploy/docs.py` writes their generated parts, `--check` only compares them.

The text between two markers is generated from the code that it describes. The rest of a document is not changed.
"""

import argparse
import re
import sys
from pathlib import Path

from reference import PARTS

ROOT = Path(__file__).resolve().parents[1]
MARKED = re.compile(r"<!-- generated: (?P<name>[a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


class UnknownPart(Exception):
    """A document names a part that does not exist."""


def generate(text: str, where: str) -> str:
    """Return the document with its parts generated again. Raises UnknownPart."""

    def part(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in PARTS:
            raise UnknownPart(f"{where} asks for the part {name!r}. Known: {', '.join(PARTS)}.")
        return f"<!-- generated: {name} -->\n{PARTS[name]().strip()}\n<!-- end -->"

    return MARKED.sub(part, text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/docs.py", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when a document is not current"
    )
    chosen = parser.parse_args()
    documents = {file: file.read_text("utf-8") for file in sorted((ROOT / "docs").glob("*.md"))}
    try:
        changed = {file: new for file, old in documents.items() if (new := generate(old, file.name)) != old}
    except UnknownPart as error:
        print(error, file=sys.stderr)
        return 1
    asked = {name for text in documents.values() for name in MARKED.findall(text)}
    for name in sorted(PARTS.keys() - asked):
        print(f"No document has the part {name!r}.", file=sys.stderr)
    for file, text in changed.items():
        if not chosen.check:
            file.write_text(text, "utf-8")
        print(f"{file.relative_to(ROOT)} {'is not current: run deploy/docs.py' if chosen.check else 'written'}")
    return 1 if (chosen.check and changed) or PARTS.keys() - asked else 0


if __name__ == "__main__":
    sys.exit(main())
