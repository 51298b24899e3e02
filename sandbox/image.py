"""Builder of the sandbox image: `python -m sandbox.image`.

The image is built from a registry if the engine reaches one, otherwise from Debian packages. It needs no root.
"""

import argparse
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from capsules.errors import SomaError, Unavailable
from sandbox import debian_packages, image_recipe
from sandbox.engine import DEFAULT_HOST

IMAGE = "somagent-sandbox:bookworm"
REGISTRY_SECONDS = 20

ReportProgress = Callable[[str, float], None]

log = logging.getLogger(__name__)


class Builder:
    """Builds one image on one engine."""

    def __init__(self, *, image: str = IMAGE, host: str = DEFAULT_HOST, mirror: str | None = None) -> None:
        self._image = image
        self._repository, _, self._tag = image.partition(":")
        self._mirror = mirror
        try:
            self._engine = docker.DockerClient(base_url=host, timeout=300)
            self._engine.ping()
            self._registry = docker.APIClient(base_url=host, timeout=REGISTRY_SECONDS)
        except (DockerException, RequestException) as error:
            raise Unavailable(
                f"The Docker engine does not answer at {host!r}: {error}. Start it, or join the group `docker`."
            ) from error

    def present(self) -> bool:
        """Return whether the image is there and was made by this recipe."""
        try:
            return self._engine.images.get(self._image).labels.get(image_recipe.LABEL) == image_recipe.digest()
        except ImageNotFound:
            return False

    def build(self, step: ReportProgress) -> str:
        """Build the image, drop the one it replaces, and return where it came from: `registry` or `packages`."""
        replaced = [image.id for image in self._engine.images.list(self._image) if image.id is not None]
        origin = self._build_from_any_source(step)
        for identity in replaced:
            with suppress(APIError):  # unchanged, or a container still needs it
                self._engine.api.remove_image(identity)
        return origin

    def _build_from_any_source(self, step: ReportProgress) -> str:
        repository, tag = "debian", f"{image_recipe.SUITE}-slim"
        step(f"Asking the registry for {repository}:{tag}", 0.02)
        try:
            _follow_report(self._registry.pull(repository, tag=tag, stream=True, decode=True), step)
        except (DockerException, RequestException) as error:
            log.info("image.no_registry problem=%s", error)
            self._build_from_packages(step)
            return "packages"
        step("Installing packages in the image", 0.3)
        dockerfile = io.BytesIO(image_recipe.dockerfile().encode())
        _follow_report(self._engine.api.build(fileobj=dockerfile, tag=self._image, rm=True, decode=True), step)
        return "registry"

    def _build_from_packages(self, step: ReportProgress) -> None:
        raw = f"{self._tag}-raw-{os.getpid()}"  # so that two builders do not use the same tag
        with tempfile.TemporaryDirectory(prefix="somagent-image-") as folder:
            archive = debian_packages.root_file_system(
                Path(folder), self._mirror, lambda text, part: step(text, 0.05 + 0.6 * part)
            )
            step("Handing the files to the engine", 0.7)
            self._engine.api.import_image(src=str(archive), repository=self._repository, tag=raw)
        step("Compiling Python's library", 0.8)
        # Bytecode can only be written by the Python inside, so the files run once to complete themselves.
        container = self._engine.containers.create(
            f"{self._repository}:{raw}", ["/bin/sh", "-c", image_recipe.FINISH_COMMAND], network_mode="none", user="0:0"
        )
        try:
            container.start()
            code = container.wait(timeout=300)["StatusCode"]
            if code != 0:
                raise Unavailable(f"The new image does not work: {container.logs().decode(errors='replace')[-800:]}")
            step("Saving the image", 0.95)
            container.commit(repository=self._repository, tag=self._tag, changes=image_recipe.changes())
        finally:
            container.remove(force=True)
            self._engine.api.remove_image(f"{self._repository}:{raw}", noprune=True)


def _follow_report(lines: Iterator[dict[str, Any]], step: ReportProgress) -> None:
    """Follow the engine's report. Raises the error it ends with, if any."""
    done = 0.05
    for line in lines:
        if "error" in line:
            raise APIError(str(line["error"]))
        done = min(done + 0.002, 0.9)
        text = str(line.get("status") or line.get("stream") or "").strip().splitlines()
        if text:
            step(text[0][:60], done)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.image", description=__doc__)
    parser.add_argument("--image", default=IMAGE, help="name and tag of the image")
    parser.add_argument("--host", default=DEFAULT_HOST, help="address of the Docker engine")
    parser.add_argument("--mirror", help="Debian mirror to use instead of this machine's")
    parser.add_argument("--force", action="store_true", help="build even if the image is present")
    chosen = parser.parse_args()
    console = Console(stderr=True)
    try:
        builder = Builder(image=chosen.image, host=chosen.host, mirror=chosen.mirror)
        if builder.present() and not chosen.force:
            console.print(f"Image {chosen.image} is present.")
            return 0
        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(f"Building {chosen.image}", total=1.0)
            origin = builder.build(lambda text, part: progress.update(task, description=text, completed=part))
            progress.update(task, description=f"Image {chosen.image} built from {origin}", completed=1.0)
    except SomaError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
