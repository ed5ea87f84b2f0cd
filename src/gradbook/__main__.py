"""``python -m gradbook``: explain a pasted or piped error message."""

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

_LONGEST = 4_000_000  # bytes of the input that are kept; a log can be endless
_PIECE = 65_536

_HELP = """\
Explain an error message of PyTorch autograd.

  python train.py 2>&1 | python -m gradbook     what the program prints comes through unchanged,
                                                and the explanation follows
  python -m gradbook traceback.txt              the explanation alone
  python -m gradbook                            paste the message, then press Ctrl-D
"""

_EXITS = """\
exit status: 0 if the message was recognised, or if there was no error in the input; 1 if there
was an error that is not in the catalogue; 2 if the file cannot be read.
"""

_ERROR = re.compile(r"Traceback \(most recent call last\)|(?:^|[\s:])[\w.]*(?:Error|Exception): ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a file or the standard input, print the explanation, return the exit status."""
    try:
        return _run(arguments)
    except BrokenPipeError:  # whoever read our output has left; nor can Python's exit write to it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gradbook",
        description=_HELP,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", help="a text file; by default the standard input")
    parser.add_argument("--json", action="store_true", help="print a JSON object, and nothing else")
    parser.add_argument(
        "--quiet", action="store_true", help="do not repeat what came from the standard input"
    )
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack a letter of the explanation
        sys.stdout.reconfigure(errors="replace")
    piped = options.file in (None, "-")
    repeated = piped and not (options.json or options.quiet or sys.stdin.isatty())
    if piped:
        raw = _read(cast("io.BufferedReader", sys.stdin.buffer), repeat=repeated)
    else:
        try:
            raw = Path(options.file).read_bytes()
        except OSError as error:
            print(f"cannot read {options.file}: {error.strerror}", file=sys.stderr)
            return 2
    # It loads torch: a program's output does not wait for that, and Ctrl-C finds us in `main`.
    from gradbook.understand.explain import decoded, explain

    text = decoded(raw)[-_LONGEST:]
    explanation = explain(text)
    known = explanation.kind != "unknown"
    failed = known or _ERROR.search(text) is not None
    if options.json:
        answer = json.dumps(asdict(explanation) | {"recognised": known}, indent=2)
    elif failed or not piped:
        answer = f"\n{explanation}" if repeated else str(explanation)
    else:
        return 0
    print(answer, flush=True)
    return 0 if known or not failed else 1


def _read(stream: io.BufferedReader, *, repeat: bool) -> bytes:
    """All of the input, or the end of a long one; as it comes in, it goes on to the output."""
    kept = bytearray()
    for piece in _pieces(stream):
        if repeat:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        kept += piece
        if len(kept) > 2 * _LONGEST:
            del kept[:-_LONGEST]
    return bytes(kept)


def _pieces(stream: io.BufferedReader) -> Iterator[bytes]:
    """What is there, until the end.

    In a pipe Ctrl-C ends the program before us too, and its last words still count.
    """
    while True:
        try:
            piece = stream.read1(_PIECE)
        except KeyboardInterrupt:
            if stream.isatty():
                raise
            continue
        if not piece:
            return
        yield piece


if __name__ == "__main__":
    sys.exit(main())
