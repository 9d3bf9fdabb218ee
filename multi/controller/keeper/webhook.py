"""Sends one event to a webhook: `python -I -S webhook.py`, with the URL on the first line of its input and the JSON after it.

A program of its own, started by the keeper for each event: neither the HTTP client nor a server that hangs is ever in the
keeper itself.
"""

from __future__ import annotations

import sys

_TIMEOUT = 20.0


def main() -> int:
    """Post it; the exit status."""
    from urllib.error import HTTPError
    from urllib.parse import urlsplit, urlunsplit
    from urllib.request import Request, urlopen

    url, _, body = sys.stdin.buffer.read().partition(b"\n")
    parts = urlsplit(url.decode("utf-8", "surrogateescape").strip())
    headers = {"Content-Type": "application/json", "User-Agent": "multi"}
    if parts.username is not None:
        from base64 import b64encode
        from urllib.parse import unquote

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    try:
        request = Request(urlunsplit(parts), body.strip(), headers, method="POST")
        with urlopen(request, timeout=_TIMEOUT) as answer:
            answer.read(1 << 16)
    except HTTPError as error:
        why = f"it answered {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        why = str(getattr(error, "reason", error))
    else:
        return 0
    # the path of such a URL is often a secret
    sys.stderr.write(f"multi: the webhook at {parts.netloc} was not told: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
