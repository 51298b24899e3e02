"""Bounded cache, for what can be read or computed again. It has a file of its own, because every floor uses it."""


class BoundedCache[K, V](dict[K, V]):
    """A dict that is emptied before it exceeds `size` entries, so that a look-up costs no more than a dict's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self.size and key not in self:
            self.clear()
        super().__setitem__(key, value)
