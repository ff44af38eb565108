"""Room for contacts and constraint rows on mujoco_warp: how much is used, and an error where it was not enough.

mujoco_warp drops what finds no room and goes on. Here every physics step leaves its largest demand on the device, and
a demand beyond the room ends the run by naming the world and the size that it needed. On a GPU the figures arrive by a
copy that nothing waits for, so the error comes a few control steps after the overflow, and at the latest when the
worlds are saved or reset from outside.
"""

# (a Warp kernel is translated, not run: pyright cannot know its arrays)
# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

import mujoco_warp as mjw
import torch
from torch import Tensor

from ...errors import HandsightError
from .quiet_warp import warp as wp

LOST = mjw.OverflowType.CCD | mjw.OverflowType.CONTACT_MATCH
"""Other buffers of mujoco_warp whose overflow drops contacts."""


class BufferOverflow(HandsightError):
    """Contacts or constraint rows found no room: what followed was not the physics of the model."""


@wp.kernel
def _keep_peaks(
    nefc: wp.array[int],
    overflow: wp.array[int],
    nacon: wp.array[int],
    ncollision: wp.array[int],
    rows: wp.array[int],
    lost: wp.array[int],
    pool: wp.array[int],
):
    world = wp.tid()
    rows[world] = wp.max(rows[world], nefc[world])
    lost[world] = overflow[world]
    if world == 0:
        pool[0] = wp.max(pool[0], nacon[0])
        pool[1] = wp.max(pool[1], ncollision[0])


class ContactBuffers:
    """Watches over the buffers of one set of worlds."""

    def __init__(self, data: mjw.Data, nconmax: int, njmax: int) -> None:
        """data: on its device; nconmax: contacts for which a world has room, on average over the worlds, which share
        it; njmax: constraint rows for which each world has room."""
        self._data, self._nconmax, self._njmax, n = data, nconmax, njmax, data.nworld
        device = torch.device(wp.device_to_torch(data.nefc.device))
        self._peaks = torch.zeros(2 * n + 2, dtype=torch.int32, device=device)
        self._arrays = [wp.from_torch(part) for part in self._peaks.split([n, n, 2])]
        self._cuda = device.type == "cuda"
        self._host = torch.zeros_like(self._peaks, device="cpu", pin_memory=True) if self._cuda else self._peaks
        self._copied: torch.cuda.Event | None = None

    def keep_peaks(self) -> None:
        """Launch, after a physics step, what remembers how much it needed."""
        d = self._data
        wp.launch(_keep_peaks, d.nworld, inputs=[d.nefc, d.overflow, d.nacon, d.ncollision], outputs=self._arrays)

    def peaks(self) -> dict[str, Tensor]:
        """Most that was needed so far, on the host: rows (N,) of each world; contacts and candidate pairs () in all.
        Waits for the device."""
        rows, _, pool = self._peaks.cpu().split([self._data.nworld, self._data.nworld, 2])
        return {"rows": rows, "contacts": pool[0], "pairs": pool[1]}

    def check(self, wait: bool = False) -> None:
        """Raise if anything found no room so far; on a GPU without `wait`, of what has arrived.

        Raises:
            BufferOverflow: it names the world and the size that it needed.
        """
        if not self._cuda:
            self._raise_if_over()
        elif wait:
            self._host.copy_(self._peaks)
            self._raise_if_over()
        elif self._copied is None or self._copied.query():
            self._raise_if_over()
            self._host.copy_(self._peaks, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def forget(self) -> None:
        """Begin anew: nothing has been needed so far."""
        self._peaks.zero_()
        wp.to_torch(self._data.overflow).zero_()

    def _raise_if_over(self) -> None:
        n = self._data.nworld
        rows, lost, pool = self._host.split([n, n, 2])
        fullest = int(rows.argmax())
        if rows[fullest] > self._njmax:
            raise BufferOverflow(
                f"world {fullest} needed {int(rows[fullest])} constraint rows, and there is room for {self._njmax}: "
                f"set --env.warp.njmax to at least {int(rows[fullest])}"
            )
        if int(pool.max()) > self._data.naconmax:
            raise BufferOverflow(
                f"{n} worlds needed {int(pool[0])} contacts and {int(pool[1])} candidate pairs at once, and there is "
                f"room for {self._data.naconmax}; world {fullest} had most ({int(rows[fullest])} constraint rows): set "
                f"--env.warp.nconmax to at least {-(-int(pool.max()) // n)}, not {self._nconmax}"
            )
        if bool((lost & int(LOST)).any()):
            world = int((lost & int(LOST)).ne(0).nonzero()[0, 0])
            kinds = mjw.OverflowType(int(lost[world]) & int(LOST))
            raise BufferOverflow(
                f"world {world} lost contacts: mujoco_warp reports {kinds.name}, with room for {self._nconmax} "
                "contacts a world"
            )
