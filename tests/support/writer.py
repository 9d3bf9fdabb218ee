"""A program that knows nothing of multi: prints numbered lines for ever, some hundred kilobytes a second.

`writer.py [WORD]`: each line holds the word.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    word = os.fsencode(sys.argv[1]) if len(sys.argv) > 1 else b"line"
    count = 0
    while True:
        for _ in range(200):
            count += 1
            try:
                os.write(1, b"%s %d %d %s\n" % (word, os.getpid(), count, b"x" * (count * 37 % 200)))
            except OSError:
                pass  # a full disk: it goes on
        time.sleep(0.02)  # its pace; as fast as it can it would fill the disk of a slow machine


if __name__ == "__main__":
    main()
