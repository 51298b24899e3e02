"""Root file system from Debian packages, without root rights and without a registry.

apt resolves, downloads and checks signatures in a directory of its own; the packages' files are merged into one tar
file. No maintainer script runs. The few results that matter (accounts, `awk`, merged /usr) are written here.
"""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from capsules.errors import Unavailable
from sandbox import image_recipe

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
EMPTY = {"tmp": 0o1777, "work": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "root": 0o700}


def root_file_system(folder: Path, mirror: str | None, step: Callable[[str, float], None]) -> Path:
    """Return a tar file of the root file system, made in an empty folder.

    `step` is called with the name of the current step and the share done, from 0 to 1. Raises Unavailable when a
    program or a package is missing.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Unavailable(
                f"{program!r} is not here: no image without a registry, except on Debian or its relatives."
            )
    if not KEYRING.exists():
        raise Unavailable(f"{str(KEYRING)!r} is missing: install the package debian-archive-keyring, then try again.")
    apt = _Apt(folder)
    apt.write_sources(_sources(mirror))
    step("Reading the package index", 0.0)
    apt.run("update")
    step("Downloading packages", 0.2)
    archives = apt.download(image_recipe.PACKAGES)
    target = folder / "root.tar"
    with tarfile.open(target, "w") as merged:
        tree = _Tree(merged)
        for number, archive in enumerate(archives):
            step(f"Unpacking {archive.name.split('_')[0]}", 0.4 + 0.6 * number / len(archives))
            tree.add(archive)
        tree.finish()
    return target


def _sources(mirror: str | None) -> list[str]:
    """Return apt source lines for our suite, from the given mirror or from the mirrors this Debian machine uses."""
    if mirror is not None:
        return [f"deb [signed-by={KEYRING}] {mirror} {image_recipe.SUITE} main"]
    facts = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    here = facts.get("VERSION_CODENAME", "").strip('"')
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    found = [line.split(" ", 1) for line in listing.splitlines() if " " in line]
    # A mirror of this machine's own release carries our suite too; other archives on the machine do not.
    suites = {here: image_recipe.SUITE, f"{here}-security": f"{image_recipe.SUITE}-security"} if here else {}
    lines = {f"deb [signed-by={KEYRING}] {uri} {suites[name]} main" for uri, name in found if name in suites}
    if facts.get("ID", "").strip('"') != "debian" or not lines:
        raise Unavailable(
            "No Debian mirror is known on this machine and no registry answers. "
            "Name a mirror with --mirror URL, or run where the Docker engine reaches a registry."
        )
    return sorted(lines)


class _Apt:
    """apt in a directory of its own: knows no installed package and changes none."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "apt"
        for part in ("lists/partial", "cache/archives/partial", "etc"):
            (self._home / part).mkdir(parents=True, exist_ok=True)
        (self._home / "status").write_text("")
        home = self._home
        self._options = [
            f"Dir::Etc::SourceList={home / 'etc/sources.list'}",
            "Dir::Etc::SourceParts=/dev/null",
            f"Dir::State::Lists={home / 'lists'}",
            f"Dir::State::status={home / 'status'}",
            f"Dir::Cache={home / 'cache'}",
            "APT::Install-Recommends=false",
            "Debug::NoLocking=1",
            "Acquire::Retries=2",
            # Its download user could not write into our directory.
            f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}",
        ]

    def write_sources(self, sources: list[str]) -> None:
        (self._home / "etc/sources.list").write_text("\n".join(sources) + "\n")

    def run(self, *words: str) -> str:
        options = [part for option in self._options for part in ("-o", option)]
        done = subprocess.run(  # noqa: S603
            ["apt-get", "-qq", *options, *words],  # noqa: S607
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C", "HOME": str(self._home)},
        )
        if done.returncode != 0:
            raise Unavailable(f"apt-get {words[0]} failed: {done.stderr.strip()[-800:]}")
        return done.stdout

    def download(self, packages: tuple[str, ...]) -> list[Path]:
        """Fetch the packages and all they need; return the archives, without those that are left out."""
        self.run("-y", "--download-only", "install", *packages)
        archives = sorted((self._home / "cache/archives").glob("*.deb"))
        return [path for path in archives if path.name.split("_")[0] not in image_recipe.EXCLUDED]


class _Tree:
    """The merged files: the first of equal paths wins, nothing keeps a setuid bit."""

    def __init__(self, merged: tarfile.TarFile) -> None:
        self._merged = merged
        self._seen: set[str] = set()
        for name in MERGED:
            self._link(name, f"usr/{name}")

    def add(self, archive: Path) -> None:
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking,  # noqa: S603
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
        ):
            for entry in files:
                self._copy(entry, files)
        if unpacking.returncode != 0:
            raise Unavailable(f"{archive.name!r} cannot be unpacked.")

    def finish(self) -> None:
        self._link("usr/bin/awk", "mawk")
        for name, mode in EMPTY.items():
            self._directory(name, mode)
        for name, text in image_recipe.ACCOUNTS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            self._merged.addfile(entry, io.BytesIO(text.encode()))

    def _copy(self, entry: tarfile.TarInfo, files: tarfile.TarFile) -> None:
        name = _under_usr(entry.name.removeprefix("./").strip("/"))
        if name in self._seen or name in ("", "usr/.", *image_recipe.ACCOUNTS, *EMPTY):
            return
        if any(f"/{name}/".startswith(f"{left_out}/") for left_out in image_recipe.REMOVED_PATHS):
            return
        self._seen.add(name)
        entry.name, entry.mode = name, entry.mode & 0o1777
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        if entry.islnk():
            entry.linkname = _under_usr(entry.linkname.removeprefix("./"))
        self._merged.addfile(entry, files.extractfile(entry) if entry.isreg() else None)

    def _link(self, name: str, target: str) -> None:
        if name not in self._seen:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            self._merged.addfile(entry)
            self._seen.add(name)

    def _directory(self, name: str, mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._merged.addfile(entry)


def _under_usr(name: str) -> str:
    return f"usr/{name}" if name.split("/", 1)[0] in MERGED else name
