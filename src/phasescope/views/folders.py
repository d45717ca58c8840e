"""The jobs whose ranks lie in folders: as rings, as recordings, or some as these and some as those."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.recordings.formats import find
from phasescope.views.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phasescope.views.catalogue import Entry


class Folders:
    """What lies in these folders and files; without any, this user's rings, wherever they are.

    A session that is there twice, as a ring and recorded, counts once: as the ring while it runs, since that is the
    newest, else as the recording, which keeps what a ring overwrites.
    """

    def __init__(self, places: Sequence[str]) -> None:
        """Raises OSError where one can not be read."""
        folders = [place for place in places if Path(place).is_dir()]
        files = [Path(place) for place in places if place not in folders]
        for file in files:
            file.stat()
        recordings = [recording for folder in folders for recording in find(folder)]
        self.catalogue = Catalogue(folders, [*files, *recordings], only_named=bool(places) and not folders)

    def jobs(self) -> list[list[Entry]]:
        """The ranks of each job that has several here, the newest job first."""
        return [job for job in self.catalogue.jobs(_once(self.catalogue.entries())) if len(job) > 1]


def _once(entries: Iterable[Entry]) -> list[Entry]:
    best: dict[object, Entry] = {}
    for entry in entries:
        session_id = entry.constants.get("session_id")
        known = best.get(session_id)
        if known is None or _worth(entry) > _worth(known):
            best[session_id] = entry
    return list(best.values())


def _worth(entry: Entry) -> tuple[bool, bool]:
    is_ring = entry.path.endswith(".ring")
    return is_ring and entry.state == "running", not is_ring
