"""Recipe of the sandbox image. Its digest labels the image, so that a changed recipe is built again."""

import hashlib

SUITE = "bookworm"
USER = 10001
LABEL = "somagent.recipe"
PACKAGES = (
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "libc-bin",
    "mawk",
    "python3",
    "sed",
    "tar",
)
# Only maintainer scripts and package databases need these; no program in a sandbox does.
EXCLUDED = ("dpkg",)

ACCOUNTS = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"sandbox:x:{USER}:{USER}:sandbox:/work:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "etc/group": f"root:x:0:\nsandbox:x:{USER}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
REMOVED_PATHS = (
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/lintian",
    "/var/lib/apt/lists",
)

# Bytecode is kept, and used without a check of its source: the root is read-only, so the source cannot change,
# and each `import` reads one file less.
COMPILE = "python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.11 >/dev/null 2>&1 || true"
FINISH_COMMAND = f"ldconfig && {COMPILE}"

CONFIGURATION = (
    f"USER {USER}:{USER}",
    "WORKDIR /work",
    "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 HOME=/work",
    'CMD ["bash"]',
)


def digest() -> str:
    """Return the digest of this recipe. It labels the image."""
    parts = (SUITE, PACKAGES, EXCLUDED, sorted(ACCOUNTS.items()), REMOVED_PATHS, FINISH_COMMAND, CONFIGURATION)
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def changes() -> list[str]:
    """Return the image's configuration as Dockerfile instructions."""
    return [*CONFIGURATION, f"LABEL {LABEL}={digest()}"]


def dockerfile() -> str:
    """Return the recipe for an engine that reaches a registry."""
    accounts = " && ".join(f"printf '{text}' > /{path}".replace("\n", "\\n") for path, text in sorted(ACCOUNTS.items()))
    return "\n".join(
        (
            f"FROM debian:{SUITE}-slim",
            f"RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {' '.join(PACKAGES)} \\",
            f" && {accounts} && mkdir -p /work && {FINISH_COMMAND} && rm -rf {' '.join(REMOVED_PATHS)}",
            *changes(),
            "",
        )
    )
