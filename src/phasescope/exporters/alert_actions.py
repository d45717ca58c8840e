"""What is done with an alert: a line on standard output, a program that is run, a web hook; in a thread of its own."""

from __future__ import annotations

import http.client
import os
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from phasescope.exporters.addresses import endpoint_of
from phasescope.exporters.remarks import safely
from phasescope.exporters.retry_after import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE_LIMIT = 1000
"""The limit of alerts that wait; then the oldest are dropped and counted."""

AUTHORIZATION = "PHASESCOPE_WEBHOOK_AUTHORIZATION"
"""The environment variable whose value is sent to a web hook as `Authorization`."""

_COMMAND_S = 60.0
_ANSWER_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LAST_WORDS_S = 15.0
_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class TryAgainError(Exception):
    """It may succeed later, not before `rest_s`; the text says why, without what may be secret."""

    def __init__(self, text: str, rest_s: float = 0.0) -> None:
        super().__init__(text)
        self.rest_s = rest_s


class RefusedError(Exception):
    """It will not succeed; the text says why, without what may be secret."""


class Action(Protocol):
    """Brings an alert away."""

    def send(self, body: str) -> None:
        """Take the JSON text of one alert. Raises TryAgainError or RefusedError."""


class Command:
    """Runs a program, without a shell, with the JSON text on its standard input."""

    def __init__(self, line: str) -> None:
        """Raise ValueError if the line names none."""
        self._words = shlex.split(line)
        if not self._words:
            raise ValueError("no command")

    def send(self, body: str) -> None:
        """Wait until it has ended, for a minute at most."""
        try:
            done = subprocess.run(self._words, input=body + "\n", text=True, timeout=_COMMAND_S, check=False)
        except subprocess.TimeoutExpired:
            raise RefusedError(f"the command took longer than {_COMMAND_S:g} s and was killed") from None
        except (OSError, ValueError) as error:
            raise RefusedError(f"the command cannot be run: {getattr(error, 'strerror', None) or error}") from None
        if done.returncode:
            raise RefusedError(f"the command ended with {done.returncode}")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Follow none: the request may hold a secret."""
        return


class Webhook:
    """Posts the JSON text to a URL. `shown` is the URL's host: the rest may be a secret."""

    def __init__(self, url: str) -> None:
        """Take the URL. Raises ValueError, whose text leaves the URL out, if it is not one."""
        base, question, query = url.partition("?")
        endpoint = endpoint_of(base)
        self.shown = endpoint.shown.split("/")[2]
        self._url = endpoint.url + ("/" if base.endswith("/") else "") + question + query
        self._headers = {"Content-Type": "application/json", "User-Agent": "phasescope", **endpoint.headers}
        authorization = os.environ.get(AUTHORIZATION)
        if authorization:
            self._headers["Authorization"] = authorization
        self._opener = urllib.request.build_opener(_NoRedirection)

    def send(self, body: str) -> None:
        """Wait for the answer."""
        request = urllib.request.Request(self._url, body.encode(), self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=_ANSWER_S):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            text = f"{self.shown} answers {error.code}"
            if error.code in _AGAIN or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise TryAgainError(text, seconds_of(error.headers.get("Retry-After"), time.time())) from None
            raise RefusedError(text) from None
        except (OSError, http.client.HTTPException) as error:
            raise TryAgainError(f"{self.shown} does not answer ({type(error).__name__})") from None
        except ValueError:
            raise RefusedError(f"{self.shown}: the address or a header is not valid") from None


class Sender:
    """Hands alerts to an action, one at a time, in a thread of its own; `say` is called with a line for a person.

    What may succeed later is tried again, with growing pauses, in order. `dropped` counts what was given up.
    """

    def __init__(self, action: Action, say: Callable[[str], object]) -> None:
        self.dropped = 0
        self._say = safely(say)
        self._waiting: deque[str] = deque()
        self._action = action
        self._changed = threading.Condition()
        self._ended = False
        self._failing = False
        self._rest_s = 0.0
        self._thread = threading.Thread(target=self._run, name="phasescope-alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, body: str) -> None:
        """Hand over the JSON text of an alert."""
        with self._changed:
            self._waiting.append(body)
            while len(self._waiting) > QUEUE_LIMIT:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify()

    def close(self) -> None:
        """Try each that waits once more, and end within a bounded time."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(_COMMAND_S + _LAST_WORDS_S)
        self.dropped += len(self._waiting)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
                if not self._waiting:
                    return
                body = self._waiting.popleft()
            if self._is_sent(body):
                pause_s = _FIRST_PAUSE_S
                continue
            with self._changed:
                self._waiting.appendleft(body)
                if self._ended:
                    return
                self._changed.wait_for(lambda: self._ended, max(pause_s, self._rest_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _is_sent(self, body: str) -> bool:
        """Return False if it has to be tried again."""
        try:
            self._action.send(body)
        except TryAgainError as error:
            if not self._failing:
                self._say(f"{error}; alerts wait, and are sent again")
            self._failing, self._rest_s = True, error.rest_s
            return False
        except RefusedError as error:
            self._say(f"an alert was not taken: {error}")
            self.dropped += 1
        except Exception as error:  # its text may hold the address
            self._say(f"an alert was not taken: {type(error).__name__}")
            self.dropped += 1
        else:
            if self._failing:
                self._say("alerts are taken again")
            self._failing = False
        return True
