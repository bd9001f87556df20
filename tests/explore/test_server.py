"""The explorer's server: on this machine only, nothing without the token, files, and Ctrl-C."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import dynsim
from dynsim.explore import answers

pytest.importorskip("bokeh")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Bokeh's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def explorer():
    panel = dynsim.explore.panel(K=2, P=1e6)
    yield panel
    panel.stop()


def get(url):
    """(status, body) of a request."""
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_nothing_without_the_token(explorer):
    root, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)([\w-]{20,})/", explorer.address).groups()
    status, page = get(explorer.address)
    assert status == 200 and b"dynsim explore" in page
    scripts = re.findall(rb'src="([^"]+)"', page)
    assert scripts and all(path.startswith(f"/{token}/".encode()) for path in scripts)  # from this server, none from elsewhere
    for path in ("", "ws", "static/js/bokeh.min.js", "data.json", token[:-1] + "/", "x" + token + "/"):
        assert get(root + path)[0] == 403, path
    assert get(root + token + "/static/js/bokeh.min.js")[0] == 200  # control


def test_it_listens_on_this_machine_only(explorer):
    port = int(explorer.address.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(OSError):  # another address of this very machine
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_figure_and_data_of_a_link(explorer):
    link = answers.to_link({**answers.DEFAULTS, "K": 2.0, "P": 1e6})
    status, body = get(explorer.address + "data.json" + link)
    assert status == 200 and json.loads(body) == answers.answer({"K": 2, "P": 1e6})
    assert get(explorer.address + "data.csv" + link)[1].startswith(b"t,")
    assert get(explorer.address + "figure.pdf" + link)[1].startswith(b"%PDF")
    assert get(explorer.address + "figure.png" + link)[1].startswith(b"\x89PNG")
    status, body = get(explorer.address + "data.json?gamma=1.5")
    assert status == 400 and body.startswith(b"gamma is the masked fraction") and body.count(b"\n") == 1


def test_bad_beginnings_are_refused():
    with pytest.raises(dynsim.InputError, match="gamma"):
        dynsim.explore.panel(gamma=2.0)
    with pytest.raises(dynsim.InputError, match="settings"):
        dynsim.explore.panel(temperature_of_tea=80.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(dynsim.InputError, match="port must be free"):
            dynsim.explore.panel(port=taken.getsockname()[1])


def start(*options):
    command = [sys.executable, "-m", "dynsim", "explore", "--no-browser", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one child")
def test_the_command_prints_the_address_and_ends_on_ctrl_c():
    with start("--K", "2", "--P", "1e6") as command:
        address = command.stdout.readline().strip()
        assert get(address)[0] == 200
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=20)
    assert command.returncode == 0 and out == "" and "Traceback" not in err


@pytest.mark.parametrize("options", [("--gamma", "1.5"), ("?K=two",), ("--port", "99999")])
def test_the_command_refuses_in_one_line(options):
    with start(*options) as command:
        out, err = command.communicate(timeout=300)
    assert command.returncode == 2 and out == "" and err.startswith("dynsim: ") and err.count("\n") == 1
