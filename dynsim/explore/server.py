"""The server of the page: on 127.0.0.1 alone, behind a token.

The token is the first part of every path: 128 random bits, new for each start. A request for anything else, the scripts of the
page included, is refused with status 403. Websockets are taken from this page only.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dynsim.errors import DynsimError, InputError
from dynsim.explore import _run, answers

if TYPE_CHECKING:
    from bokeh.server.server import Server

HOST = "127.0.0.1"
TYPES = {"png": "image/png", "pdf": "application/pdf", "svg": "image/svg+xml", "csv": "text/csv", "json": "application/json"}


def make_server(settings: Mapping[str, Any], port: int = 0, token: str | None = None) -> tuple[Server, str]:
    """Make the server, not yet running.

    Parameters
    ----------
    settings : mapping
        What the page begins with, from `answers.read_settings`.
    port : int
        To listen on; 0 for one that is free.
    token : str, optional
        What an address must begin with; by default a new one.

    Returns
    -------
    (bokeh.server.server.Server, str)
        The server, and the address of the page.

    Raises
    ------
    InputError
        Where Bokeh is not installed, the port is taken, or the settings make no problem.

    Examples
    --------
    >>> server, address = make_server({"K": 2, "P": 1e30})    # doctest: +SKIP
    """
    try:
        from bokeh.server.server import Server
    except ImportError:
        raise InputError("the explorer needs Bokeh, which is not installed: python -m pip install 'dynsim[explore]'") from None
    from tornado.web import RequestHandler

    from dynsim.explore._page import Page

    answers.answer(settings)  # refused here where it is no problem; compiles or loads the kernels before anybody waits
    token = secrets.token_urlsafe(16) if token is None else token

    def fill(document: Any) -> None:
        request = document.session_context.request
        given = [(name, value.decode("utf-8", "replace")) for name, values in request.arguments.items() for value in values]
        given = [(name, value) for name, value in given if not name.startswith("bokeh-")]
        asked, refused = settings, ""
        if given:
            try:
                asked = answers.read_settings(given)
                answers.answer(asked)
            except DynsimError as error:
                asked, refused = settings, str(error)
        Page(document, asked, refused)

    class Refuse(RequestHandler):
        """Any path that does not begin with the token."""

        def prepare(self) -> None:
            self.set_status(403)
            self.finish("the address needs the token that `dynsim explore` printed\n")

    class File(RequestHandler):
        """The figure or the data of the settings in the query."""

        def get(self, name: str) -> None:
            try:
                given = [(key, self.get_query_argument(key)) for key in self.request.arguments]
                body = _exported(name, answers.read_settings(given))
            except DynsimError as error:
                self.set_status(400)
                self.finish(f"{error}\n")
                return
            self.set_header("Content-Type", TYPES[name.rpartition(".")[2]])
            self.finish(body)

    port = _free_port(port)
    try:
        server = Server(
            {"/": fill},
            port=port,
            address=HOST,
            prefix=token,
            allow_websocket_origin=[f"{HOST}:{port}"],
            extra_patterns=[(r"/(figure\.(?:png|pdf|svg)|data\.(?:csv|json))", File)],
            default_handler_class=Refuse,
        )
    except OSError as error:
        raise InputError(f"the port must be free, got {port} ({error.strerror}): take another, or 0 for any") from None
    return server, f"http://{HOST}:{server.port}/{token}/"


def _free_port(port: int) -> int:
    """The port, or for 0 one that is free now (Bokeh has to know beforehand from which origin it takes websockets)."""
    with socket.socket() as one:
        if sys.platform != "win32":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server sets it: a port just left is free
        try:
            one.bind((HOST, port))
        except OSError as error:
            raise InputError(f"the port must be free, got {port} ({error.strerror}): take another, or 0 for any") from None
        return one.getsockname()[1]


def _exported(name: str, settings: Mapping[str, Any]) -> bytes:
    """The figure (figure.png, .pdf, .svg: that of `dynsim plot`) or the data (data.csv, .json) of settings."""
    what, ending = name.split(".")
    if what == "data":
        found = answers.answer(settings)
        return (_run.csv(found) if ending == "csv" else json.dumps(found, indent=1)).encode()
    from dynsim import plots

    problem, _, traj = _run.simulated(_run.complete(settings))
    made = plots.summary(traj, problem)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        plots.save(made, path)
        with open(path, "rb") as file:
            return file.read()


def serve(
    settings: Mapping[str, Any], port: int = 0, browser: bool = True, announce: Callable[[str, bool], object] | None = None
) -> None:
    """Serve the page until Ctrl-C.

    Parameters
    ----------
    settings : mapping
        What the page begins with.
    port : int
        To listen on; 0 for one that is free.
    browser : bool
        Whether to open a browser, where this machine has a screen.
    announce : callable, optional
        Called with the address, and whether a browser is opened with it.

    Raises
    ------
    InputError
        As `make_server` does.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.explore.serve({"K": 2, "P": 1e30}, announce=print)    # doctest: +SKIP
    """
    server, address = make_server(settings, port)
    server.start()
    opens = browser and _has_screen()
    if announce is not None:
        announce(address, opens)
    if opens:
        server.io_loop.call_later(0, lambda: threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start())
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _has_screen() -> bool:
    """Whether a browser can show up: not on a Linux machine without display, where only one for the terminal would."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Panel:
    """The page in a notebook, until `stop()` or the end of the kernel.

    Parameters
    ----------
    address : str
        Of the page.
    stop : callable
        Ends the server.

    Examples
    --------
    >>> import dynsim
    >>> explorer = dynsim.explore.panel(K=2, P=1e30)    # doctest: +SKIP
    >>> explorer.stop()                                 # doctest: +SKIP
    """

    def __init__(self, address: str, stop: Callable[[], object]) -> None:
        self.address, self.stop = address, stop

    def __repr__(self) -> str:
        return f"dynsim explore: {self.address}"

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.address}" width="100%" height="900" style="border: 0" title="dynsim explore"></iframe>'


def panel(port: int = 0, **settings: float | str) -> Panel:
    """Open the explorer in a notebook whose browser runs on this machine.

    Parameters
    ----------
    port : int
        To listen on, on 127.0.0.1; 0 for one that is free.
    **settings : float or str
        What to begin with: K, gamma, P, kappa_c, kappa_s, L, U, objective, and its options, such as weight.

    Returns
    -------
    Panel
        Which a notebook shows in a frame; `stop()` ends its server, which runs in a thread of its own.

    Raises
    ------
    InputError
        As `make_server` does, and for a name that is no setting.

    Examples
    --------
    >>> import dynsim
    >>> explorer = dynsim.explore.panel(K=2, P=1e30)    # doctest: +SKIP
    >>> explorer.stop()                                 # doctest: +SKIP
    """
    import asyncio

    begin = answers.read_settings({name: str(value) for name, value in settings.items()})
    ready = threading.Event()
    made: dict[str, Any] = {}

    def run() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            made["server"], made["address"] = make_server(begin, port)
            made["server"].start()
        except BaseException as error:
            made["error"] = error
            loop.close()
            return
        finally:
            ready.set()
        made["server"].io_loop.start()

    thread = threading.Thread(target=run, name="dynsim explore", daemon=True)
    thread.start()
    ready.wait()
    if "error" in made:
        thread.join()
        raise made["error"]
    server = made["server"]

    def stop() -> None:
        def end() -> None:
            server.stop()
            server.io_loop.stop()

        if thread.is_alive():
            server.io_loop.add_callback(end)
            thread.join(5)
            if not thread.is_alive():
                server.io_loop.close(all_fds=True)

    return Panel(made["address"], stop)
