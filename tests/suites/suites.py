"""The suites: how to get each, how to run it, how to read what it says."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree


class Step:
    """One program of a suite. cwd: None for an empty directory, the one that argv() and read() are given; that one alone can be written to in the
    sandbox, so anything else is read-only there, under an overlay in memory."""
    cwd = None
    timeout = 900
    options: list = []
    env: dict = {}

    def argv(self, work):
        raise NotImplementedError

    def read(self, work, output):
        """{test: "pass" | "fail" | "skip"}"""
        raise NotImplementedError


class Suite:
    """name, about, and: prepare(), once, outside; steps()."""
    dir = ""  # where it may keep things

    def prepare(self):
        """OSError or SubprocessError: it cannot be had."""


def need(program, how):
    found = shutil.which(program)
    if not found:
        raise OSError(f"no {program}: {how}")
    return found


class PythonModule(Step):
    def __init__(self, module, ignore):
        self.module, self.ignore = module, ignore

    def argv(self, work):
        command = ["/usr/bin/python3", "-m", "test", "-v", "--junit-xml", os.path.join(work, self.module + ".xml")]
        for pattern in self.ignore:
            command += ["-i", pattern]
        return command + [self.module]

    def read(self, work, output):
        results = {}
        try:
            root = xml.etree.ElementTree.parse(os.path.join(work, self.module + ".xml")).getroot()
        except (OSError, xml.etree.ElementTree.ParseError):
            return {self.module: "fail"}
        for case in root.iter("testcase"):
            kinds = {child.tag for child in case}
            state = "skip" if "skipped" in kinds else "fail" if kinds & {"failure", "error"} else "pass"
            results[case.get("name").replace(" ", "_")] = state
        results[self.module] = "pass" if re.search(r"^Result: SUCCESS", output, re.M) else "fail"
        return results


class Python(Suite):
    """CPython's own tests, as Debian packages them."""
    def __init__(self, name, about, modules, ignore=()):
        self.name, self.about, self.modules, self.ignore = name, about, modules, ignore

    def prepare(self):
        subprocess.run(["/usr/bin/python3", "-c", "import test.test_socket"], check=True, capture_output=True)

    def steps(self):
        return [PythonModule(m, self.ignore) for m in self.modules]


class GoPackage(Step):
    def __init__(self, program, directory):
        self.program, self.cwd = program, directory

    def argv(self, work):
        return [self.program, "-test.v", "-test.short", "-test.timeout=800s"]

    def read(self, work, output):
        name = os.path.basename(self.program).removesuffix(".test")
        states = {"PASS": "pass", "FAIL": "fail", "SKIP": "skip"}
        results = {f"{name}.{m[2].replace(' ', '_')}": states[m[1]]
                   for m in re.finditer(r"^\s*--- (PASS|FAIL|SKIP): (.*) \([\d.]+s\)$", output, re.M)}
        results[name] = "pass" if re.search(r"^PASS$", output, re.M) else "fail"
        return results


class Go(Suite):
    """Packages of Go's standard library, out of the toolchain."""
    def __init__(self, name, about, packages):
        self.name, self.about, self.packages = name, about, packages

    def program(self, package):
        return os.path.join(self.dir, package.replace("/", "_") + ".test")

    def prepare(self):
        go = need("go", "install the Go toolchain")
        self.root = subprocess.run([go, "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip()
        for package in self.packages:
            if not os.path.exists(self.program(package)):
                subprocess.run([go, "test", "-c", "-o", self.program(package), package], check=True, capture_output=True,
                               env={**os.environ, "CGO_ENABLED": "0"})

    def steps(self):
        return [GoPackage(self.program(p), os.path.join(self.root, "src", p)) for p in self.packages]


class RustTest(Step):
    timeout = 300

    def __init__(self, program, directory):
        self.program, self.cwd = program, directory

    def argv(self, work):
        return [self.program, "--test-threads=4"]

    def read(self, work, output):
        name = re.sub(r"-[0-9a-f]{16}$", "", os.path.basename(self.program))
        states = {"ok": "pass", "FAILED": "fail", "ignored": "skip"}
        results = {f"{name}.{m[1]}": states[m[2]]
                   for m in re.finditer(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", output, re.M)}
        results[name] = "pass" if re.search(r"^test result: ok", output, re.M) else "fail"
        return results


class Crate(Suite):
    """The integration tests that a crate ships with."""
    def __init__(self, name, about, crate, version, tests, arguments):
        self.name, self.about, self.crate, self.version, self.tests, self.arguments = name, about, crate, version, tests, arguments

    def source(self):
        return os.path.join(self.dir, f"{self.crate}-{self.version}")

    def fetch(self, cargo):
        """Cargo alone knows how to get a crate: a package that depends on it brings its source."""
        asks = os.path.join(self.dir, "asks")
        os.makedirs(os.path.join(asks, "src"), exist_ok=True)
        with open(os.path.join(asks, "Cargo.toml"), "w", encoding="utf-8") as f:
            f.write(f'[package]\nname = "asks"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{self.crate} = "={self.version}"\n')
        open(os.path.join(asks, "src", "lib.rs"), "w", encoding="utf-8").close()
        subprocess.run([cargo, "vendor", "--quiet", os.path.join(self.dir, "vendor")], cwd=asks, check=True, capture_output=True)
        shutil.copytree(os.path.join(self.dir, "vendor", self.crate), self.source(), ignore=shutil.ignore_patterns("Cargo.lock"))

    def prepare(self):
        cargo = need("cargo", "install the Rust toolchain")
        if not os.path.exists(self.source()):
            self.fetch(cargo)
        tests = [x for t in self.tests for x in ("--test", t)]
        # What it is tested with depends on the crate too: on this one.
        itself = ["--config", f'patch.crates-io.{self.crate}.path="{self.source()}"']
        built = subprocess.run([cargo, "test", "--no-run", "--quiet", "--message-format=short"] + itself + self.arguments + tests, cwd=self.source(),
                               check=False, capture_output=True, text=True, env={**os.environ, "CARGO_TARGET_DIR": os.path.join(self.dir, "target")})
        if built.returncode:
            raise OSError(built.stderr[-400:])

    def steps(self):
        deps = os.path.join(self.dir, "target", "debug", "deps")
        programs = sorted(n for n in os.listdir(deps) if re.fullmatch(r"(?:" + "|".join(self.tests).replace("*", r"\w*") + r")-[0-9a-f]{16}", n))
        return [RustTest(os.path.join(deps, n), self.source()) for n in programs]


NET_MODULES = ["test_socket", "test_asyncio", "test_ssl", "test_httpservers", "test_urllib2_localnet", "test_xmlrpc", "test_smtplib", "test_ftplib"]

SUITES = [
    Python("python-net", "CPython: sockets and what stands on them", NET_MODULES, ["*VSOCK*"]),
    Go("go-net", "Go: net and net/http", ["net", "net/http"]),
    Crate("tokio-net", "tokio: TCP, UDP, unix sockets, the I/O driver", "tokio", "1.54.1",
          ["tcp_*", "udp", "uds_*", "net_*", "io_driver*", "io_async_fd", "io_copy_bidirectional", "buffered", "unix_shutdown"], ["--features", "full,test-util"]),
]
