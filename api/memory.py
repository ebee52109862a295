"""Memory that was freed, kept together and given back, as glibc spreads and keeps it otherwise; and what stays."""

import ctypes
import gc

M_ARENA_MAX = -8
ARENAS = 2


def keep_together() -> None:
    """Has the threads share a few heaps, where the C library is glibc: only one of them runs at a time anyway."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Returns what is free to the system, where the C library is glibc; other threads go on meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def set_aside() -> None:
    """Has the garbage collector pass over what the start made, which stays, and look at what is new less often.

    Else each of its full rounds, which come with traffic and with looks at the journal, stops all threads while it goes
    over some hundred thousand objects: for 70 to 125 ms under load, now for 10.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
