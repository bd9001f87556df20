"""What the explorer must not answer: requests from elsewhere, without the token, too large, or no requests at all; it goes on."""

import json
import re
import secrets
import socket

import numpy as np
import pytest

import dynsim

pytest.importorskip("bokeh")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Bokeh's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def place():
    """(port, token) of a running explorer, which must still be there at the end."""
    panel = dynsim.explore.panel(K=2, P=1e6)
    port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", panel.address).groups()
    yield int(port), token
    assert answers(int(port), token)
    panel.stop()


def send(port, content, wait=20.0, end=True):
    """First line of what comes back for bytes; empty where the connection is closed without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        got = b""
        try:
            connection.sendall(content)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while b"\r\n" not in got and len(got) < 1000:
                more = connection.recv(4096)
                if not more:
                    break
                got += more
        except (ConnectionResetError, BrokenPipeError):
            pass
    return got.split(b"\r\n")[0].decode("latin-1")


def request(port, path, *headers, method="GET", body=b""):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *headers]
    return send(port, "\r\n".join([*lines, "", ""]).encode() + body, end=False)


def status(port, path, *headers, **more):
    line = request(port, path, *headers, **more)
    return int(line.split()[1]) if line else None


def answers(port, token):
    return status(port, f"/{token}/data.json?K=2&P=1e6") == 200


def websocket(origin, key="dGhlIHNhbXBsZSBub25jZQ=="):
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return (*upgrade, f"Sec-WebSocket-Key: {key}", f"Origin: {origin}")


def test_websockets_from_elsewhere(place):
    port, token = place
    others = [f"http://localhost:{port}", f"http://127.0.0.1.example.org:{port}"]
    for origin in ("http://example.org", "http://127.0.0.1:1", "null", *others):
        assert status(port, f"/{token}/ws", *websocket(origin)) == 403, origin
    assert status(port, f"/{secrets.token_urlsafe(16)}/ws", *websocket(f"http://127.0.0.1:{port}")) == 403
    assert answers(port, token)


def test_without_the_token_by_any_method(place):
    port, token = place
    paths = [f"//{token}/data.json", f"/x/{token}/", f"/{token[:-1]}/data.json", f"/{token.swapcase()}/", f"/../{token}"]
    for path in ("/", "//", "/%2e%2e/", *paths):
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
            assert status(port, path, "Content-Length: 0", method=method) in (403, 405), (method, path)
    for name in ("figure.exe", "data.json.bak", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "static/../../../etc/passwd"):
        assert status(port, f"/{token}/{name}") in (400, 403, 404), name
    assert status(port, f"/{token}/data.json", "Content-Length: 0", method="POST") in (403, 405)
    assert answers(port, token)


WRONG = ["K=two", "K=", "K=nan", "K=1e400", "P=-1", "x=1", "K=2&K=", "gamma=%ff", "K=%00", "P=" + "9" * 5000, "K=1e9"]


@pytest.mark.parametrize("query", [*WRONG, "K=2&" * 500, "%"])
def test_settings_that_are_none(place, query):
    port, token = place
    assert status(port, f"/{token}/data.json?{query}") in ((400,) if query in WRONG else (200, 400))
    assert answers(port, token)


def test_too_large(place):
    port, token = place
    long = "x" * 100_000
    assert status(port, f"/{token}/data.json?K={long}") in (400, 431, None)  # refused, or the connection closed
    assert status(port, f"/{token}/", f"X-Long: {long}") in (400, 431, None)
    assert status(port, f"/{token}/data.json", f"Content-Length: {10**12}", method="POST") in (400, 403, 405, 413, None)
    assert answers(port, token)


def test_no_requests_at_all(place):
    port, token = place
    rng = np.random.default_rng(0)
    whole = f"GET /{token}/data.json?K=2&P=1e6 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    pieces = [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 9, b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 1000]
    pieces += [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
    pieces += [b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
    pieces += [rng.bytes(int(rng.integers(1, 400))) for _ in range(20)]
    for _ in range(40):
        content = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 8)):
            content[at] = rng.integers(256)
        pieces.append(bytes(content))
    for content in pieces:
        line = send(port, content, wait=10.0)
        assert line == "" or re.match(r"HTTP/1\.1 (200|400|403|404|405|411|413|431)", line), (content, line)
    assert answers(port, token)


def test_a_websocket_that_speaks_nonsense(place):
    port, token = place
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = [f"GET /{token}/ws HTTP/1.1", f"Host: 127.0.0.1:{port}", *websocket(f"http://127.0.0.1:{port}"), "", ""]
        connection.sendall("\r\n".join(lines).encode() + b"\xff" * 500 + json.dumps({"K": 2}).encode())
        connection.recv(1000)
    assert answers(port, token)


def test_connections_that_are_left_open_do_not_stop_it(place):
    port, token = place
    idle = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(50)]
    try:
        for one in idle:
            one.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert answers(port, token)
    finally:
        for one in idle:
            one.close()
