"""The gateway's command on a loop whose short timers can be stopped: `still` on standard input.

Under callgrind a request takes so long that periodic timers, of 1 second or less, run between it
and the next, more of them on a busier machine. A timer that is set after `still` never ends.
"""

import os
import runpy
from threading import Thread

import uvloop

LONGEST_SECONDS = 1.0
NEVER_SECONDS = 1e6


class StillLoop(uvloop.Loop):
    """An event loop that can be told to run no more short timers."""

    is_still = False

    def call_later(self, delay, *arguments, **options):
        """Set a timer."""
        is_stopped = StillLoop.is_still and 0 < delay <= LONGEST_SECONDS
        return super().call_later(NEVER_SECONDS if is_stopped else delay, *arguments, **options)


def obey():
    """Wait for the word, then be still."""
    os.read(0, 100)
    StillLoop.is_still = True
    print("still", flush=True)


if __name__ == "__main__":
    uvloop.new_event_loop = StillLoop
    Thread(target=obey, daemon=True).start()
    runpy.run_module("gateway", run_name="__main__")
