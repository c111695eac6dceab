"""Where the page is served."""

import socket

import pytest

from threestudio_like.errors import UserError
from threestudio_like.viewer.address import Address


@pytest.mark.parametrize(
    "text, host, port",
    [("8081", "127.0.0.1", 8081), ("0", "127.0.0.1", 0), ("0.0.0.0:80", "0.0.0.0", 80), ("[::1]:9000", "::1", 9000)],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text, host, port):
    assert Address.read(text) == Address(host, port)


def test_a_browser_opens_its_url():
    assert Address().url == "http://127.0.0.1:8080" and Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("::", 80).url == "http://[::1]:80" and Address("::1", 80).url == "http://[::1]:80"


def test_a_refusal_names_the_option():
    with pytest.raises(UserError, match="--demo: 'x' is not an address"):
        Address.read("x", "--demo")
    with pytest.raises(UserError, match="--demo: there is no host"):
        Address("nowhere.invalid", 80).check_free("--demo")


def test_only_this_machine_is_served_unless_told_otherwise():
    assert Address().host == "127.0.0.1"


@pytest.mark.parametrize("text", ["", "port", "65536", "-1", "host:", ":80", "a b:80", "1.5", "http://host:80"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UserError, match="is not an address; give a port"):
        Address.read(text)


def test_a_taken_port_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is taken; give another"):
            Address("127.0.0.1", port).check_free()
    Address("127.0.0.1", port).check_free()


def test_a_host_that_is_not_there_is_a_sentence():
    with pytest.raises(UserError, match="there is no host"):
        Address("nowhere.invalid", 80).check_free()
    with pytest.raises(UserError, match=r"port 8080 of 192\.0\.2\.1 cannot be used"):
        Address("192.0.2.1").check_free()
