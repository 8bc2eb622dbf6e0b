"""Ctrl-C and SIGTERM as something to ask about: a run is saved before it is left."""

import signal
import threading


class Interrupts:
    """Within `with`, SIGTERM and the first SIGINT are noted; a second SIGINT interrupts at once.

    Only a process's main thread can take signals; in others nothing is ever noted.
    """

    def __init__(self):
        self.received: int | None = None
        self._handlers: dict = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def leave(self) -> None:
        """End the program as the signal asked, with the exit code that shells expect: 130 or 143."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)
