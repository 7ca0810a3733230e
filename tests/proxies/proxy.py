"""Real proxies as child processes, each with its configuration from `deploy/proxies`.

Only addresses and, for some tests, the timeout are replaced; the settings of a system's main file are added around it.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

__all__ = ["PROXIES", "SHIPPED", "Proxy", "running"]

SHIPPED = Path(__file__).parents[2] / "deploy" / "proxies"

_NGINX = """
daemon off;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
{shipped}
}}
"""

_CADDY = """
{{
    admin off
    auto_https off
}}
{shipped}
"""

_APACHE = """
ServerRoot {directory}
ServerName flags.example.com
PidFile {directory}/pid
ErrorLog /dev/stderr
User nobody
Group nogroup
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so
LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so
LoadModule lbmethod_bybusyness_module /usr/lib/apache2/modules/mod_lbmethod_bybusyness.so
LoadModule lbmethod_byrequests_module /usr/lib/apache2/modules/mod_lbmethod_byrequests.so
DefaultRuntimeDir {directory}
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
Listen 127.0.0.1:{port}
{shipped}
"""


# A port where nothing listens.
NOTHING = 1


@dataclass(frozen=True)
class Proxy:
    """`listens` is replaced by `bound` or, for TLS and HTTP/2, by `secure`; `timeout` is the shipped text and its
    replacement."""

    name: str
    package: str
    file: str
    listens: str
    bound: str
    secure: str
    timeout: tuple[str, str]
    around: str
    command: tuple[str, ...]

    @property
    def program(self) -> str | None:
        return shutil.which(self.command[0], path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

    def configuration(
        self, directory: Path, port: int, backends: Sequence[int], timeout_s: int | None, certificate: Path | None
    ) -> str:
        text = (SHIPPED / self.file).read_text(encoding="utf-8")
        bound = self.bound if certificate is None else self.secure
        changes = {
            self.listens: bound.format(port=port, certificate=certificate),
            "127.0.0.1:8080": f"127.0.0.1:{backends[0]}",
            "127.0.0.1:8081": f"127.0.0.1:{backends[-1] if len(backends) > 1 else NOTHING}",
        }
        if timeout_s is not None:
            changes[self.timeout[0]] = self.timeout[1].format(timeout_s)
        for shipped, replacement in changes.items():
            assert shipped in text, f"{self.file} does not contain {shipped!r}"
            text = text.replace(shipped, replacement)
        return self.around.format(directory=directory, port=port, shipped=text)


PROXIES = (
    Proxy(
        "nginx", "nginx", "nginx.conf", "listen 80;", "listen 127.0.0.1:{port};",
        "listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {certificate};",
        ("75s", "{}s"), _NGINX,
        ("nginx", "-e", "stderr", "-c", "{file}"),
    ),
    Proxy(
        "haproxy", "haproxy", "haproxy.cfg", "bind :80", "bind 127.0.0.1:{port}",
        "bind 127.0.0.1:{port} ssl crt {certificate} alpn h2,http/1.1",
        ("75s", "{}s"), "{shipped}",
        ("haproxy", "-db", "-q", "-f", "{file}"),
    ),
    Proxy(
        "caddy", "caddy", "Caddyfile", "flags.example.com {", "http://127.0.0.1:{port} {{",
        "https://127.0.0.1:{port} {{\n    tls {certificate} {certificate}",
        ("75s", "{}s"), _CADDY,
        ("caddy", "run", "--adapter", "caddyfile", "--config", "{file}"),
    ),
    Proxy(
        "apache", "apache2-bin", "apache.conf", "<VirtualHost *:80>", "<VirtualHost 127.0.0.1:{port}>",
        "<VirtualHost 127.0.0.1:{port}>\n    Protocols h2 http/1.1\n"
        "    SSLEngine on\n    SSLCertificateFile {certificate}",
        ("timeout=75", "timeout={}"), _APACHE,
        ("apache2", "-DFOREGROUND", "-f", "{file}"),
    ),
)  # fmt: skip


@contextmanager
def running(
    proxy: Proxy,
    directory: Path,
    port: int,
    backends: Sequence[int],
    timeout_s: int | None = None,
    certificate: Path | None = None,
) -> Iterator[str]:
    """The proxy's address, once it forwards requests to the servers at the ports `backends`, two at most: with one,
    the other one of the shipped file is down. Skips if the proxy is not installed.

    With a certificate, and its key in the same file, the proxy uses TLS and HTTP/2.
    """
    if proxy.program is None:
        pytest.skip(f"{proxy.name} is not installed (Debian: {proxy.package})")
    file = directory / proxy.file
    file.write_text(proxy.configuration(directory, port, backends, timeout_s, certificate), encoding="utf-8")
    command = [proxy.program, *(part.format(file=file) for part in proxy.command[1:])]
    environment = {"HOME": str(directory), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while not _forwards(url):
            output = (directory / "log").read_text(errors="replace")
            assert process.poll() is None, f"{proxy.name} has exited: {output}"
            assert time.monotonic() < deadline, f"{proxy.name} forwards no requests: {output}"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        sys.stderr.write((directory / "log").read_text(errors="replace"))


def _forwards(url: str) -> bool:
    try:
        return httpx.get(url + "/healthz", timeout=2, verify=False).status_code == 200
    except httpx.TransportError:
        return False
