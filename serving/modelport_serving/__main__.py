"""`python -m modelport_serving`: serve models with KServe's own arguments."""

from __future__ import annotations

import logging
import os
import sys

from modelport_serving import logs, workers
from modelport_serving.errors import ServingError
from modelport_serving.settings import PROGRAM, parse


def main() -> int:
    """Serve until told to stop. Returns the exit status: 1 when serving was not possible."""
    settings = parse()
    link = None
    try:
        if workers.is_worker():
            link = workers.link()
        elif settings.workers > 1:
            logs.start_as(settings, PROGRAM)
            return workers.supervise(settings)
        from modelport_serving.server import run

        run(settings, link)
    except ServingError as error:
        if link is not None:
            link.failed(error)
        else:
            print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 - an operator reads this
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    # A model that still loads or predicts in a thread must not keep the process.
    os._exit(status)
