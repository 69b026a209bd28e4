"""Do the files that `make release` wrote to dist/ work? The tests are skipped without a release. The function of this checkout is
also built and run for arm64, where that is possible."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import dependencies
import pytest
import release
from dependencies import CLI, FUNCTION, Program

from support.function import Aws, Function, Message, batch, envelope
from support.harness import CARGO_LAMBDA, EVENTS, ROOT

DIST = release.DIST

released = pytest.mark.skipif(not DIST.exists(), reason="there is no release; `make release` builds one")

# Debian's packages qemu-user-static and libc6-arm64-cross, or libc6-amd64-cross on arm64.
QEMU = {
    "arm64": ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"],
    "x86_64": ["qemu-x86_64-static", "-L", "/usr/x86_64-linux-gnu"],
}
HOST_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


@pytest.fixture(scope="module", params=dependencies.TARGETS)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


def binary(architecture: str) -> bytes:
    with zipfile.ZipFile(DIST / release.zip_name(architecture)) as archive:
        return archive.read("bootstrap")


def cli(architecture: str) -> bytes:
    with zipfile.ZipFile(DIST / release.cli_zip_name(architecture)) as archive:
        return archive.read(CLI.name)


def runner(architecture: str) -> list[str]:
    """The command in front of a binary for this architecture, so that it runs on this machine."""
    if sys.platform != "linux":
        pytest.skip("the binaries are for Linux")
    emulator = [] if architecture == HOST_ARCHITECTURE else QEMU[architecture]
    if emulator and not (shutil.which(emulator[0]) and Path(emulator[2]).exists()):
        pytest.skip(f"{emulator[0]} or {emulator[2]} is missing; Debian's packages qemu-user-static and libc6-*-cross"
                    f" have them, and without them this machine can't run the binary for {architecture}")
    return emulator


@released
def test_the_checksums_are_those_of_the_files() -> None:
    lines = [line.split("  ") for line in (DIST / "SHA256SUMS").read_text().splitlines()]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in DIST.iterdir()}
    del files["SHA256SUMS"]
    assert {name: checksum for checksum, name in lines} == files


@released
def test_the_templates_have_the_version_of_the_function() -> None:
    for template in DIST.glob("template*.json"):
        assert json.loads(template.read_text())["Outputs"]["Version"]["Value"] == release.VERSION


@released
@pytest.mark.parametrize("program", [FUNCTION, CLI], ids=lambda program: program.name)
def test_a_binary_lists_the_crates_of_the_bill_of_materials(program: Program, architecture: str) -> None:
    content = binary(architecture) if program == FUNCTION else cli(architecture)
    listed = json.loads(zlib.decompress(elf_section(content, ".dep-v0")))["packages"]
    bom = json.loads((DIST / f"{program.name}-{release.VERSION}.cdx.json").read_text())
    [root] = [it["name"] for it in listed if it.get("root")]
    assert root == program.package
    components = {(it["name"], it["version"]) for it in [bom["metadata"]["component"], *bom["components"]]}
    crates = {(it["name"], it["version"]) for it in listed}
    assert crates <= components
    # The bill of materials is that of both architectures. Few crates are for one of them alone.
    assert len(components - crates) <= 2
    own = {"lambda_http"} if program == FUNCTION else {"clap", "aws-sigv4"}
    assert {name for name, _ in crates} >= {"ring", "rustls", "aws-sdk-eventbridge", *own}
    # The numbers in a crate's `dependencies` are positions in the list of crates.
    by_name = {it["name"]: it for it in listed}
    assert "ring" in {listed[position]["name"] for position in by_name["rustls"]["dependencies"]}


def elf_section(binary: bytes, name: str) -> bytes:
    """The content of a section of a 64-bit, little-endian ELF file."""
    assert binary.startswith(b"\x7fELF\x02\x01")
    (table,) = struct.unpack_from("<Q", binary, 0x28)
    size, count, names = struct.unpack_from("<HHH", binary, 0x3A)
    # Each header starts with the name's offset, the type, the flags, the address, and the content's offset and size.
    headers = [struct.unpack_from("<IIQQQQ", binary, table + position * size) for position in range(count)]
    strings = headers[names][4]
    for start, _, _, _, offset, length in headers:
        end = binary.index(b"\0", strings + start)
        if binary[strings + start : end].decode() == name:
            return binary[offset : offset + length]
    raise AssertionError(f"there is no section {name}")


@released
def test_the_binary_of_a_release_forwards_a_delivery_of_each_transport(architecture: str) -> None:
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        path = Path(directory) / "bootstrap"
        path.write_bytes(binary(architecture))
        path.chmod(0o755)
        assert_forwards([*runner(architecture), path])


@released
def test_the_program_of_a_release_runs_without_the_repository(architecture: str) -> None:
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        path = Path(directory) / CLI.name
        path.write_bytes(cli(architecture))
        path.chmod(0o755)

        def run(*arguments: str) -> list[str]:
            command = [*runner(architecture), path, *arguments]
            return subprocess.check_output(command, cwd=directory, env={}, text=True).splitlines()

        assert run("--version") == [f"{CLI.name} {release.VERSION}"]
        types = sorted(file.stem for file in (EVENTS / "bodies").glob("*.json"))
        assert [line.split()[0] for line in run("send", "--list")] == types
        with zipfile.ZipFile(DIST / release.cli_zip_name(architecture)) as archive:
            assert archive.namelist() == [CLI.name, "LICENSE", "THIRD-PARTY.txt"]


def test_the_function_of_this_checkout_forwards_a_delivery_of_each_transport_on_arm64() -> None:
    """Without optimization, because that takes minutes longer."""
    target = dependencies.TARGETS["arm64"]
    command = ["rustc", "--print", "target-libdir", "--target", target]
    if not Path(subprocess.check_output(command, cwd=ROOT, text=True).strip()).is_dir():
        pytest.skip(f"Rust's standard library for arm64 is missing; `rustup target add {target}` installs it")
    emulator = runner("arm64")
    # Cargo locks its folder for the whole build, and tests that run in parallel build something, too.
    output = ROOT / "target" / "arm64"
    path = f"{CARGO_LAMBDA.parent}:{os.environ['PATH']}"  # for Zig
    build = [CARGO_LAMBDA, "lambda", "build", "--locked", "--quiet", "--target", target]
    subprocess.run(build, cwd=ROOT, check=True, env=os.environ | {"PATH": path, "CARGO_TARGET_DIR": str(output)})
    assert_forwards([*emulator, output / "lambda" / FUNCTION.name / "bootstrap"])


def assert_forwards(command: list[str | Path]) -> None:
    """Starts the function, and sends it a delivery of each transport and a batch of the parking queue."""
    transports = ["user.login", *(f"transports/{path.stem}" for path in sorted((EVENTS / "transports").glob("*.json")))]
    with Function(Aws(), command=command) as function:
        assert (function.first_lines[0]["message"], function.first_lines[0]["version"]) == ("starting", release.VERSION)
        for name in transports:
            invocation = function.invoke(envelope(name))
            assert invocation.response and invocation.response["statusCode"] == 200, name
            assert [line["outcome"] for line in invocation.lines] == ["forwarded"], name
        parked = Message("1", (EVENTS / "bodies" / "user.login.json").read_text())
        assert function.invoke(batch([parked])).response == {"batchItemFailures": []}
