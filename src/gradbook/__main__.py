"""``python -m gradbook``: explain a pasted or piped error message."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from gradbook.explain import explain

_LONGEST = 4_000_000  # bytes of the input that are kept; a log can be endless

_HELP = """\
Explain an error message of PyTorch autograd.

  python train.py 2>&1 | python -m gradbook     what the program prints comes through unchanged,
                                                and the explanation follows
  python -m gradbook traceback.txt              the explanation alone
"""

_EXITS = """\
exit status: 0 if the message was recognised, or if there was no error in the input; 1 if there
was an error that is not in the catalogue; 2 if the file cannot be read.
"""

_ERROR = re.compile(r"Traceback \(most recent call last\)|(?:^|[\s:])[\w.]*(?:Error|Exception): ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a file or the standard input, print the explanation, return the exit status."""
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
    piped = options.file in (None, "-")
    if piped:
        text = _read(sys.stdin.buffer, repeat=not (options.json or options.quiet))
    else:
        try:
            text = Path(options.file).read_bytes()[-_LONGEST:].decode("utf-8", "replace")
        except OSError as error:
            print(f"cannot read {options.file}: {error.strerror}", file=sys.stderr)
            return 2
    explanation = explain(text)
    known = explanation.kind != "unknown"
    failed = known or _ERROR.search(text) is not None
    if options.json:
        print(json.dumps(asdict(explanation) | {"recognised": known}, indent=2))
    elif failed or not piped:
        print(f"\n{explanation}" if piped and not options.quiet else explanation)
    return 0 if known or not failed else 1


def _read(stream: BinaryIO, *, repeat: bool) -> str:
    """All of the input, or the end of a long one; line by line it goes on to the output."""
    kept: list[bytes] = []
    size = 0
    for line in _lines(stream):
        if repeat:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        kept.append(line)
        size += len(line)
        if size > 2 * _LONGEST:
            kept = [b"".join(kept)[-_LONGEST:]]
            size = len(kept[0])
    return b"".join(kept)[-_LONGEST:].decode("utf-8", "replace")


def _lines(stream: BinaryIO) -> Iterable[bytes]:
    """Lines until the end; Ctrl-C ends the program before us, and its last words still count."""
    while True:
        try:
            line = stream.readline()
        except KeyboardInterrupt:
            continue
        if not line:
            return
        yield line


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever read our output has left
        sys.stderr.close()
        sys.exit(1)
