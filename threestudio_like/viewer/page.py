"""Serves the page by viser: each visitor's camera comes in, images go out, and what is asked for waits its turn."""

import contextlib
import io
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from threestudio_like.cameras import spherical
from threestudio_like.errors import UserError
from threestudio_like.export.presentation import Presentation
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.images import Pose

if TYPE_CHECKING:
    import viser

log = logging.getLogger(__name__)
QUALITY = 90
"""Of the JPEG images that the page shows, in 1..100."""
SMALL = 1 << 17
"""Pixels up to which an image is sent as it is, as PNG: enlarged, the faults of a JPEG would show."""


def library() -> Any:
    """Imports viser. Raises UserError where it is not installed."""
    try:
        import viser
    except ImportError:
        raise UserError('--view: viser is not installed; pip install -e ".[viewer]"') from None
    return viser


class Page:
    """A page that is served from its construction to `close`.

    viser calls back in threads of its own. They only note what is asked (`ask`), and whoever owns the model does it
    (`carry_out`), between two steps.
    """

    def __init__(self, address: Address, title: str):
        """Raises UserError where viser is missing, or nothing can be served at the address."""
        module = library()
        address.check_free()
        logging.getLogger("websockets").setLevel(logging.WARNING)
        with silently():
            self.server: viser.ViserServer = module.ViserServer(address.host, address.port, title, verbose=False)
        self.server.request_share_url = self._refuse_to_share  # type: ignore[method-assign]
        self.address = Address(address.host, self.server.get_port())
        if address.port not in (0, self.address.port):  # taken since it was checked
            self.close()
            address.check_free()
            raise UserError(f"--view: port {address.port} of {address.host} is taken; give another")
        self.server.gui.configure_theme(show_logo=False, show_share_button=False, control_layout="fixed")
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self.server.on_client_connect(self._greet)

    @property
    def url(self) -> str:
        """Returns what a browser on this machine opens."""
        return self.address.url

    def stand_at_front(self, show: Presentation) -> None:
        """Lets visitors first see what the turntable's first picture shows."""
        import torch

        azimuth, elevation, distance = torch.tensor([[0.0, np.deg2rad(show.elevation_deg), show.distance]]).T
        self.server.initial_camera.position = spherical(azimuth, elevation, distance)[0].numpy()
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        self.server.initial_camera.fov = float(np.deg2rad(show.fov_deg))

    def poses(self) -> dict[int, Pose]:
        """Returns the camera of each visitor, by number; empty while no page is open."""
        cameras = {number: client.camera for number, client in self.server.get_clients().items()}
        return {number: pose_of(camera) for number, camera in cameras.items()}

    def show(self, visitor: int, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Sends an image to one visitor; one who has left is passed over."""
        client = self.server.get_clients().get(visitor)
        if client is not None:
            small = image.shape[0] * image.shape[1] <= SMALL
            client.scene.set_background_image(image, format="png" if small else "jpeg", jpeg_quality=QUALITY)

    def ask(self, work: Callable[[], None]) -> None:
        """Notes what is to be done by the owner of the model; may be called in any thread."""
        self._asked.put(work)
        self._wake.set()

    def carry_out(self) -> None:
        """Does what was asked for, in the thread of the caller."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._asked.get_nowait()()

    def wait(self, seconds: float) -> None:
        """Waits until something is asked, a camera moves, or so many seconds have gone by."""
        self._wake.wait(seconds)
        self._wake.clear()

    def close(self) -> None:
        """Stops serving."""
        with silently():
            self.server.stop()

    def _greet(self, client: "viser.ClientHandle") -> None:
        client.camera.on_update(lambda camera: self._wake.set())
        self._wake.set()

    @staticmethod
    def _refuse_to_share(verbose: bool = True) -> None:
        """Publishes nothing: viser's link for everyone goes over a host of others."""


def pose_of(camera: "viser.CameraHandle") -> Pose:
    """Reads a visitor's camera."""
    w, qx, qy, qz = map(float, camera.wxyz)
    x, y, z = map(float, camera.position)
    return Pose((w, qx, qy, qz), (x, y, z), float(camera.fov), int(camera.image_height), int(camera.image_width))


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """Keeps what a library prints off the standard output, which is a command's result."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
