"""Two examples of each command for its help: a command line, and what it is for."""

from __future__ import annotations

_WIDTH = 80

EXAMPLES = {
    "ls": (
        ("phasescope ls", "all sessions of this user"),
        ("phasescope ls --json", "the same for a script"),
    ),
    "top": (
        ("phasescope top", "the newest session"),
        ("phasescope top 14001", "that of pid 14001"),
    ),
    "tail": (
        ("phasescope tail 14001", "its events as they come"),
        ("phasescope tail 14001 --types error,warning --all", "what went wrong so far"),
    ),
    "summary": (
        ("phasescope summary", "the newest session"),
        ("phasescope summary --sort peak --limit 3", "the highest peaks first"),
    ),
    "record": (
        ("phasescope record 14001 -o run.jsonl.gz", "until it ends"),
        ("phasescope record 14001 -o run.jsonl --seconds 60", "one minute of it"),
    ),
    "convert": (
        ("phasescope convert run.jsonl run.parquet", "for pandas or polars"),
        ("phasescope convert 14001 run.trace.json", "for Perfetto"),
    ),
    "export": (
        ("phasescope export --all --prometheus :9464", "for Prometheus to fetch"),
        ("phasescope export 14001 --otlp http://127.0.0.1:4318", "to a collector"),
    ),
    "watch": (
        ("phasescope watch --all --when growth", "a line of JSON for each"),
        ("phasescope watch 14001 --when 'used>90%' --run ./page.sh", "or a program"),
    ),
    "web": (
        ("phasescope web", "all sessions, the newest first"),
        ("phasescope web 14001 --port 8800", "that of pid 14001, on this port"),
    ),
    "report": (
        ("phasescope report 14001", "writes phasescope-14001.html"),
        ("phasescope report run.jsonl -o run.html", "of a recording"),
    ),
    "explain": (
        ("phasescope explain", "the newest session, live or dead"),
        ("phasescope explain run.jsonl --json", "of a recording, for a script"),
    ),
    "compare": (
        ("phasescope compare 14001 15532", "what changed between two runs"),
        ('phasescope compare a.json b.json --fail-on "peak_allocated>5%"', "in a test"),
    ),
    "snapshot": (
        ("phasescope snapshot 14001", "what its threads do, and what is live"),
        ("phasescope snapshot 14001 -o now.json", "to compare it later"),
    ),
    "fit": (
        ("phasescope fit batch-16.jsonl", "which batch fits this device"),
        ("phasescope fit batch-8.jsonl batch-16.jsonl --device-memory 80GiB", "another, exactly"),
    ),
    "ranks": (
        ("phasescope ranks", "the newest job on this machine"),
        ("phasescope ranks node-a node-b --job 5b0e", "of recordings of two machines"),
    ),
    "run": (
        ("phasescope run train.py --epochs 3", "as python train.py --epochs 3"),
        ("phasescope run -m package.training", "as python -m package.training"),
    ),
    "demo": (
        ("phasescope demo", "a training, watched and summed up"),
        ("phasescope demo --leak", "one whose memory grows, and why"),
    ),
    "doctor": (
        ("phasescope doctor", "what works here, and what is missing"),
        ("phasescope doctor --json", "the same for a script"),
    ),
    "help": (
        ("phasescope help exit-codes", "what an exit code means"),
        ("phasescope help explain", "as phasescope explain --help"),
    ),
    "clean": (
        ("phasescope clean --dry-run", "what would be removed"),
        ("phasescope clean", "remove it"),
    ),
}


def examples(command: str) -> str:
    """Return the lines of a command's help that show how it is called."""
    lines = EXAMPLES[command]
    width = max(len(line) for line, _ in lines)
    if width + max(len(what) for _, what in lines) + 6 > _WIDTH:  # then what it is for has a line of its own
        return "examples:\n" + "\n".join(f"  {line}\n      {what}" for line, what in lines)
    return "examples:\n" + "\n".join(f"  {line:<{width}}  {what}" for line, what in lines)
