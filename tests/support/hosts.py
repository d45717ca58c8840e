"""Two hosts on one machine: network namespaces with a wire between them, and a host name each."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE = "wire"
_NETWORK = "10.213.7."
_TOOLS = ("ip", "nsenter", "unshare")


class Host:
    """A host with a name and an address, for as long as its first process lives."""

    def __init__(self, number: int) -> None:
        self.name, self.address = f"node-{number}", f"{_NETWORK}{number}"
        # The process says that it is in its namespaces, and goes with its standard input.
        command = ["unshare", "--net", "--uts", "sh", "-c", "echo there; exec cat"]
        self._first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._first.stdout is not None
        self._first.stdout.readline()

    @property
    def pid(self) -> int:
        return self._first.pid

    def command(self, *command: str) -> list[str]:
        """Return the command as it is run on this host."""
        return ["nsenter", "--target", str(self.pid), "--net", "--uts", *command]

    def begin(self) -> None:
        for command in (
            ("hostname", self.name),
            ("ip", "address", "add", f"{self.address}/24", "dev", DEVICE),
            ("ip", "link", "set", "lo", "up"),
            ("ip", "link", "set", DEVICE, "up"),
        ):
            subprocess.run(self.command(*command), check=True, capture_output=True)

    def end(self) -> None:
        """End it; its namespaces and its end of the wire go with it."""
        self._first.kill()
        self._first.communicate()


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield two hosts that reach each other and nothing else. Raises CalledProcessError where that is not allowed."""
    with contextlib.ExitStack() as stack:
        hosts = Host(1), Host(2)
        for host in hosts:
            stack.callback(host.end)
        ends = [("name", DEVICE, "netns", str(host.pid)) for host in hosts]
        wire = ["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]]
        subprocess.run(wire, check=True, capture_output=True)
        for host in hosts:
            host.begin()
        yield hosts


def why_not() -> str | None:
    """Return why there cannot be two hosts here; None if there can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "two hosts are network namespaces, which only root makes, on Linux"
    lacking = [tool for tool in (*_TOOLS, "hostname") if shutil.which(tool) is None]
    if lacking:
        return f"two hosts need {', '.join(lacking)}"
    try:
        with two_hosts():
            return None
    except (subprocess.CalledProcessError, OSError, BrokenPipeError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        return f"no network namespaces with a wire between them here: {said.decode(errors='replace').strip()}"
