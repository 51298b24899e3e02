"""`somagent down` removes the containers of its own home, and of no other."""

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from servers import settings_in, temporary_home
from stack_cli import Cli


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> Iterator[str]:
    """A real image of one file: these containers are created and never run."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    engine.api.import_image_from_data(archive.getvalue(), repository="somagent-test-empty", tag="1")
    yield "somagent-test-empty:1"
    engine.images.remove("somagent-test-empty:1")


def exists(container: Container) -> bool:
    try:
        container.reload()
    except NotFound:
        return False
    return True


def test_down_removes_the_containers_of_its_home_and_leaves_all_others(engine: docker.DockerClient, image: str):
    with temporary_home() as home, temporary_home() as other:
        cli = Cli(settings_in(home))
        ours, theirs = (
            engine.containers.create(image, "none", labels={"somagent": "1", "somagent.scope": str(place)})
            for place in (home, other)
        )
        nameless = engine.containers.create(image, "none", labels={"somagent": "1"})
        try:
            down = cli.run("down")
            assert down.returncode == 0, down.stderr
            assert "Removed 1 container(s)." in down.stdout
            assert [exists(container) for container in (ours, theirs, nameless)] == [False, True, True]
        finally:
            for container in (ours, theirs, nameless):
                if exists(container):
                    container.remove()
