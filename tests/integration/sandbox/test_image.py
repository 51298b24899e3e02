"""The image: what is in it, and that it is built again when its recipe changes, without being root."""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import docker
import pytest

from capsules.errors import Unavailable
from sandbox import debian_packages, image_recipe
from sandbox.image import Builder


@pytest.fixture(scope="module")
def engine():
    """The machine's engine, where the image is built."""
    client = docker.from_env()
    yield client
    client.close()


def build(*arguments):
    command = [sys.executable, "-m", "sandbox.image", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_present_image_is_left_alone(image, engine):
    before = engine.images.get(image).id
    done = build("--image", image)
    assert (done.returncode, "is present" in done.stderr) == (0, True)
    assert engine.images.get(image).id == before


def test_an_image_of_another_recipe_is_not_present(engine):
    engine.images.build(
        fileobj=io.BytesIO(b"FROM scratch\nLABEL somagent.recipe=other\n"), tag="somagent-test:other", rm=True
    )
    try:
        assert not Builder(image="somagent-test:other").present()
    finally:
        engine.images.remove("somagent-test:other")


def test_the_image_names_its_recipe_and_no_root_user(image, engine):
    config = engine.images.get(image).attrs["Config"]
    assert config["Labels"][image_recipe.LABEL] == image_recipe.digest()
    assert config["User"] == "10001:10001"


def test_the_image_has_no_setuid_program(image, engine):
    found = engine.containers.run(
        image,
        ["find", "/usr", "/etc", "/var", "-xdev", "-type", "f", "-perm", "/6000"],
        user="0",
        remove=True,
        network_mode="none",
    )
    assert found == b""


def test_the_library_is_compiled(image, engine):
    code = "import json, importlib.util as u, os; print(os.path.exists(u.cache_from_source(json.__file__)))"
    assert engine.containers.run(image, ["python3", "-c", code], remove=True, network_mode="none") == b"True\n"


def test_a_missing_engine_is_named():
    done = build("--host", "unix:///tmp/no-such.sock")
    assert done.returncode == 1
    assert "no-such.sock" in done.stderr.replace("\n", "")


def test_the_files_come_together_without_being_root(tmp_path):
    """In a process of an ordinary user: neither engine nor root is needed to make the file system."""
    home = tmp_path / "cache"
    home.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    home.chmod(0o777)
    # Root gives itself up after the imports: another user may not reach the interpreter's own files.
    code = (
        "import os, sys, subprocess; from pathlib import Path; from sandbox import debian_packages\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "debian_packages.root_file_system(Path(sys.argv[1]), None, lambda *_: None)"
    )
    command = [sys.executable, "-c", code, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(home / "root.tar") as tree:
        entries = {entry.name: entry for entry in tree}
    assert {"usr/bin/python3", "usr/bin/bash", "usr/bin/sh", "usr/bin/awk", "etc/passwd"} <= entries.keys()
    assert not any(entry.mode & 0o6000 for entry in entries.values())
    assert not any(name.startswith("usr/share/doc/") for name in entries)


def test_an_unreachable_mirror_says_so(tmp_path):
    with pytest.raises(Unavailable, match="apt-get"):
        debian_packages.root_file_system(tmp_path, "http://127.0.0.1:9/debian", lambda *_: None)
