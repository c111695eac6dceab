"""Reads the address of a page that is served, and checks that it is free."""

import re
import socket
from dataclasses import dataclass

from threestudio_like.errors import UserError

LOOPBACK, PORT = "127.0.0.1", 8080
LARGEST = 65535


@dataclass(frozen=True)
class Address:
    """The place of the page: on this machine alone unless a host is named; port 0 is any that is free."""

    host: str = LOOPBACK
    port: int = PORT

    @staticmethod
    def read(text: str, option: str = "--view") -> "Address":
        """Reads `PORT`, `HOST:PORT` or `[HOST]:PORT`. Raises UserError, which names the option."""
        found = re.fullmatch(r"(?:(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})", text)
        if found is None or int(found["port"]) > LARGEST:
            raise UserError(f"{option}: '{text}' is not an address; give a port from 0 to {LARGEST}, or HOST:PORT")
        return Address((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))

    @property
    def url(self) -> str:
        """Returns what a browser on this machine opens."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def check_free(self, option: str = "--view") -> None:
        """Raises UserError, which names the option, where nothing can be served at the address."""
        try:
            family, kind, _, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
                tried.bind(place)
        except socket.gaierror:
            raise UserError(f"{option}: there is no host '{self.host}'") from None
        except OSError as error:
            reason = "is taken" if error.strerror and "in use" in error.strerror else f"cannot be used ({error})"
            other = self.port + 1 if self.port < LARGEST else PORT
            told = f"{option}: port {self.port} of {self.host} {reason}; give another, as {other}"
            raise UserError(told) from None
