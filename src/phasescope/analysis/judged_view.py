"""One session as a view shows it, with what `explain` says of it, from the same pass over its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .diagnosis.evidence import EvidenceFold
from .diagnosis.explanation import explain
from .session_view import SessionView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .diagnosis.explanation import Explanation
    from .event_fields import Scope
    from .spans import Span


class JudgedView(SessionView):
    """A view that also keeps, in bounded memory, what the session is judged by."""

    def __init__(self) -> None:
        super().__init__()
        self._evidence = EvidenceFold()

    def _take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        super()._take(event, scope, span)
        self._evidence.take(event, scope, span)

    def explanation(
        self,
        state: str,
        *,
        heartbeat_ns: int | None = None,
        now_ns: int | None = None,
        oom_kills: int | None = None,
        missed: tuple[int, int] = (0, 0),
        constants: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """Return what is known now; the arguments are those of `EvidenceFold.evidence`. Costs much
        more than an event: do not call it for every picture."""
        evidence = self._evidence.evidence(
            self._summary,
            state,
            heartbeat_ns=heartbeat_ns,
            now_ns=now_ns,
            oom_kills=oom_kills,
            missed=missed,
            constants=constants,
        )
        return explain(evidence)
