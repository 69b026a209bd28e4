"""Writes a release to dist/: for each architecture a zip file that Lambda accepts and one with `scalekit-events`, the packages
for consumers, and what comes with them.

Everything is the same, byte for byte, for each build of a commit with the same toolchain, in any folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import dependencies
import event_packages
import package
from archive import write_zip
from dependencies import CLI, FUNCTION, ROOT, TARGETS, Crate, Program

DIST = ROOT / "dist"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]

# A release has a target directory of its own, because Cargo compiles everything again when the flags change.
_TARGET_DIRECTORY = ROOT / "target" / "dist"


def zip_name(architecture: str, version: str = VERSION) -> str:
    """The name of the function's zip file."""
    return f"{FUNCTION.name}-{version}-{architecture}.zip"


def cli_zip_name(architecture: str) -> str:
    return f"{CLI.name}-{VERSION}-linux-{architecture}.zip"


def write_program(path: Path, binary: bytes, third_party: str, name: str = "bootstrap") -> None:
    """Writes a binary's zip file. Lambda requires the default name of the binary."""
    files = {name: binary, "LICENSE": (ROOT / "LICENSE").read_bytes(), "THIRD-PARTY.txt": third_party.encode()}
    write_zip(path, files, executable=name)


def _check_targets() -> None:
    missing = [
        target
        for target in TARGETS.values()
        if not Path(_output("rustc", "--print", "target-libdir", "--target", target)).is_dir()
    ]
    if missing:
        sys.exit(f"A release needs Rust's standard library for {' and '.join(missing)}. Run:"
                 f" rustup target add {' '.join(missing)}")


def _build(program: Program, architecture: str, crates: list[Crate]) -> bytes:
    """Builds a binary with the list of its dependencies inside, for scanners. cargo-lambda builds the program for people, too,
    because it brings a linker for both architectures."""
    print(f"Building {program.name} {VERSION} for {architecture}", flush=True)
    target = TARGETS[architecture]
    output = _TARGET_DIRECTORY / "lambda" / architecture
    flags = [f"--remap-path-prefix={path}={name}" for path, name in _machine_paths(crates).items()]
    flags += ["-C", f"link-arg={_compile_audit_list(program, crates, architecture)}"]
    if spaced := [flag for flag in flags if " " in flag]:
        sys.exit(f"A release can't be built with a space in the name of a folder: {', '.join(spaced)}")
    subprocess.run(
        ["cargo", "lambda", "build", "--release", "--locked", "--quiet", "--target", target, "--lambda-dir", output],
        cwd=program.workspace,
        env=os.environ | {"CARGO_TARGET_DIR": str(_TARGET_DIRECTORY), "RUSTFLAGS": " ".join(flags)},
        check=True,
    )
    binary = (output / program.name / "bootstrap").read_bytes()
    for path in _machine_paths(crates):
        if f"{path}/".encode() in binary:
            sys.exit(f"The binary {program.name} for {architecture} contains a path of this machine: {path}")
    return binary


def _compile_audit_list(program: Program, crates: list[Crate], architecture: str) -> str:
    """An object file with the list of dependencies in the section that cargo-auditable defined, and scanners read:
    https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md

    cargo-auditable itself would also list the dependencies of the benchmarks, because it asks `cargo metadata`, which
    resolves the features of the whole workspace. Scanners would then report crates that aren't in the binary.
    """
    section = _TARGET_DIRECTORY / "dep-v0" / program.name / architecture
    section.parent.mkdir(parents=True, exist_ok=True)
    section.write_bytes(zlib.compress(dependencies.audit_list(crates, TARGETS[architecture]).encode(), 9))
    assembly, compiled = section.with_suffix(".s"), section.with_suffix(".o")
    assembly.write_text(f'.section .dep-v0,"",@progbits\n.incbin "{section.name}"\n')
    target = TARGETS[architecture].replace("-unknown", "")
    subprocess.run(
        ["python-zig", "cc", "-target", target, "-c", assembly.name, "-o", compiled.name],
        cwd=section.parent,
        check=True,
    )
    # Cargo links in the workspace's folder. A relative path is the same in each folder, and so is what Cargo derives from it.
    return os.path.relpath(compiled, program.workspace)


def _machine_paths(crates: list[Crate]) -> dict[Path, str]:
    """The folders of this machine whose names the compiler would write into the binary, and what it writes instead."""
    sources = {it.directory.parent: "crates" for it in crates if it.checksum}
    sysroot = Path(_output("rustc", "--print", "sysroot"))
    return {ROOT: FUNCTION.name, **sources, sysroot: "rust"}


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    _check_targets()
    crates = {program: dependencies.crates(program) for program in (FUNCTION, CLI)}
    third_party = {program: dependencies.third_party(crates[program]) for program in crates}
    binaries = {(it, architecture): _build(it, architecture, crates[it]) for it in crates for architecture in TARGETS}

    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for architecture in TARGETS:
        write_program(DIST / zip_name(architecture), binaries[FUNCTION, architecture], third_party[FUNCTION])
        write_program(DIST / cli_zip_name(architecture), binaries[CLI, architecture], third_party[CLI], CLI.name)
    for program in crates:
        (DIST / f"{program.name}-{VERSION}.cdx.json").write_text(dependencies.sbom(crates[program]))
    (DIST / "THIRD-PARTY.txt").write_text(third_party[FUNCTION])
    package.write(DIST)
    event_packages.write(DIST)
    for template in sorted((ROOT / "deploy").glob("*.yaml")):
        shutil.copyfile(template, DIST / template.name)
    sums = [f"{hashlib.sha256(it.read_bytes()).hexdigest()}  {it.name}\n" for it in sorted(DIST.iterdir())]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    print(f"Wrote {DIST.relative_to(ROOT)}/", *sorted(it.name for it in DIST.iterdir()), sep="\n  ")


if __name__ == "__main__":
    main()
