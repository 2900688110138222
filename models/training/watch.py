"""Who watches the ranks of a run: a process of its own, so that somebody is left to say which rank
has died, and so that nothing that holds up Python in a rank (a compiler, a stopped process) holds
up the watching. Standard library only: it is started as a script.

Each rank has two lines to it. On one it sends beats: how often it has arrived where ranks wait for
each other, and whether it has leave to take long. On the other nothing is ever sent: it breaks when
the process ends, and lines break in the order in which processes end.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

BEAT = 0.5  # seconds
SEEN = b"seen\n"  # the watcher has heard a hello
SIOCGIFADDR = 0x8915  # Linux: the address of an interface
SETTLED = 20  # arrivals after which a rank's steps are of a known length: all is recorded
SLOW = 300.0  # seconds that one may take before
BYE, SPOKEN = "bye", "spoken"  # last messages: this rank is done; all are, and it has been said


class Watched:
    """What the watcher knows of one rank."""

    def __init__(self, rank: int, who: str) -> None:
        self.name, self.said_bye = f"rank {rank} ({who})", False
        self.heard = self.moved = time.monotonic()
        self.arrived, self.longest, self.busy = 0, 0.0, False
        self.unread = b""

    def beat(self, arrived: int, busy: bool, now: float) -> None:
        if arrived != self.arrived:
            if self.arrived >= SETTLED and not self.busy:
                self.longest = max(self.longest, now - self.moved)
            self.moved, self.arrived = now, arrived
        elif busy or self.busy:
            self.moved = now
        self.heard, self.busy = now, busy

    def patience(self, timeout: float) -> float:
        """Seconds that the others wait for its next arrival."""
        return timeout + 3 * self.longest if self.arrived >= SETTLED else max(timeout, SLOW)


def silent(ranks: list[Watched], timeout: float, now: float) -> str | None:
    """What is to be said of a rank that hangs, if one does."""
    here = [r for r in ranks if not r.said_bye]
    if not here:
        return None
    for rank in here:
        if now - rank.heard > timeout:
            return f"{rank.name} has not answered for {timeout:.0f} s"
    furthest = max(r.arrived for r in here)
    for rank in here:
        waited = now - max([rank.moved, *(r.moved for r in here if r.arrived == furthest)])
        if rank.arrived < furthest and not rank.busy and waited > rank.patience(timeout):
            return f"{rank.name} hangs: the others have waited for it for {waited:.0f} s"
    return None


def kept(file: Path) -> str:
    return f"{file} keeps the last good state." if file.exists() else "Nothing was saved."


def watch(size: int, timeout: float, file: Path) -> None:
    """Wait for ``size`` ranks, then watch them until all have said good-bye."""
    listener = socket.create_server(("", 0), backlog=2 * size)
    token = secrets.token_hex(16)
    print(listener.getsockname()[1], token, flush=True)
    listener.settimeout(60)
    beats: dict[int, tuple[socket.socket, Watched]] = {}
    lives: dict[int, socket.socket] = {}
    while len(beats) < size or len(lives) < size:
        try:
            line, _ = listener.accept()
        except TimeoutError:
            return  # some cannot reach us, and have told the others
        line.settimeout(5)
        with suppress(OSError, ValueError):
            hello = json.loads(line.makefile().readline(1000))
            if not secrets.compare_digest(hello["token"], token):
                continue
            line.sendall(SEEN)
            if hello["beats"]:
                beats[hello["rank"]] = line, Watched(hello["rank"], hello["who"])
            else:
                lives[hello["rank"]] = line
    listener.close()
    sentence = _watch([beats[r] for r in range(size)], [lives[r] for r in range(size)], timeout)
    if sentence is not None:
        if sentence:
            with suppress(OSError):
                said = f"\ntinygrad-rnn: {sentence}, so all ranks end. {kept(file)}\n"
                os.write(2, said.encode())
        for line, _ in beats.values():
            with suppress(OSError):
                line.sendall(b"end\n")
        time.sleep(2 * BEAT)  # until they have read it


def _watch(beats: list[tuple[socket.socket, Watched]], lives: list[socket.socket],
           timeout: float) -> str | None:
    """Why all ranks end, nothing where one of them says it; None where all are done."""
    ranks = [rank for _, rank in beats]
    selector = selectors.DefaultSelector()
    for (line, rank), life in zip(beats, lives, strict=True):
        for one in (line, life):
            one.setblocking(False)
        selector.register(line, selectors.EVENT_READ, (rank, True))
        selector.register(life, selectors.EVENT_READ, (rank, False))
    while not all(rank.said_bye for rank in ranks):
        dead = []
        for key, _ in selector.select(BEAT):
            rank, beating = key.data
            messages, there = _read(key.fileobj, rank)
            if not there:
                selector.unregister(key.fileobj)
                if not beating:
                    dead.append(rank)
            now = time.monotonic()
            if messages and all(now - r.heard > timeout / 2 for r in ranks):
                for r in ranks:  # all were stopped, and go on
                    r.heard = r.moved = now
            for message in messages:
                if message == SPOKEN:
                    return ""
                if message == BYE:
                    rank.said_bye = True
                else:
                    rank.beat(*message, now)
        for rank in dead:
            if not rank.said_bye:
                return f"{rank.name} has died"
        awake = any(time.monotonic() - r.heard < timeout / 2 for r in ranks)
        if awake and (sentence := silent(ranks, timeout, time.monotonic())):
            return sentence
    return None


def _read(line: Any, rank: Watched) -> tuple[list[Any], bool]:
    """The messages that have come, and whether the line is whole."""
    try:
        came = line.recv(1 << 16)
    except BlockingIOError:
        return [], True
    except OSError:
        came = b""
    *messages, rank.unread = (rank.unread + came).split(b"\n")
    return [json.loads(message) for message in messages], bool(came)


class Line:
    """A rank's end: a thread sends beats, and calls ``ended`` when the watcher ends all, or when it
    is gone, or has not been reached for ``timeout`` seconds."""

    def __init__(self, rank: int, hosts: list[str], port: int, token: str, timeout: float,
                 arrivals: Callable[[], int], ended: Callable[[], None]) -> None:
        self.busy = False
        self._arrivals, self._ended, self._over = arrivals, ended, threading.Event()
        who = f"process {os.getpid()} on {socket.gethostname()}"
        self._name, self._beside = f"rank {rank} ({who})", rank == 0
        hello = {"rank": rank, "token": token, "who": who}
        self._beats, self._life = (
            _connected(hosts, port, {**hello, "beats": beats}) for beats in (True, False)
        )
        self._beats.settimeout(BEAT)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a cable that is cut says nothing by itself
            self._beats.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1e3))
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        word = cut = None
        while word is None and cut is None and not self._over.is_set():
            try:
                self._send([self._arrivals(), self.busy])
                with suppress(TimeoutError):  # which is the pause between two beats
                    word = self._beats.recv(10)
            except OSError as error:
                cut = error
        if not self._over.is_set():
            if not word and (cut or self._beside):  # nobody has said why; of many one does
                os.write(2, f"\ntinygrad-rnn: {self._name} no longer reaches the process that"
                            " watches all ranks, beside rank 0, so it ends.\n".encode())
            self._ended()

    def _send(self, message: Any) -> None:
        self._beats.sendall(json.dumps(message).encode() + b"\n")

    def close(self, last: str = BYE) -> None:
        self._over.set()
        with suppress(OSError):
            self._send(last)


def _connected(hosts: list[str], port: int, hello: dict[str, Any]) -> socket.socket:
    """A line to the watcher, which answers at the first of these addresses that are its own."""
    for host in hosts:
        with suppress(OSError):  # a firewall, a name that is not known, another machine's port
            line = socket.create_connection((host, port), timeout=5)
            line.sendall(json.dumps(hello).encode() + b"\n")
            if line.recv(len(SEEN)) == SEEN:
                return line
            line.close()
    raise OSError(f"no watcher at {hosts}")


def addresses() -> list[str]:
    """By what this machine may be reached: its name and, on Linux, the addresses it has; not every
    machine that knows these knows the name, and several may have one name."""
    found = [socket.gethostname()]
    with suppress(ImportError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        import fcntl

        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                request = struct.pack("256s", interface.encode())
                found.append(socket.inet_ntoa(fcntl.ioctl(asked, SIOCGIFADDR, request)[20:24]))
    return [found[0], *(address for address in found[1:] if not address.startswith("127."))]


def start(size: int, timeout: float, file: Path) -> tuple[int, str]:
    """Start the watcher; its port, and the word by which it knows the ranks."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve()), str(size), str(timeout), str(file)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as out:
        port, token = out.readline().split()
    return int(port), token


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
