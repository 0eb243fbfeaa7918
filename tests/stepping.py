"""Whatever may happen between any two steps of a piece of work: other work, or its end."""

from __future__ import annotations

CHANGES = {"put", "put_if_absent", "delete", "publish", "discard", "copy", "switch"}


class Stepped:
    """Passes calls on; before and after each one, `step` may do something, or end the process."""

    def __init__(self, inner, step, names=CHANGES):
        self._inner, self._step, self._names = inner, step, names

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in self._names:
            return method

        def call(*arguments):
            self._step(name, before=True)
            result = method(*arguments)
            result = iter(list(result)) if name == "list" else result
            self._step(name, before=False)
            return result

        return call
