"""The generated parts of the documents, made again from the code: the whole product is imported for it."""

import subprocess
import sys

from sources import ROOT


def test_generated_parts_say_what_the_code_says():
    found = subprocess.run(
        [sys.executable, ROOT / "deploy" / "docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, f"run `python deploy/docs.py`:\n{found.stdout}{found.stderr}"
