from .cameras import Cameras as Cameras
from .cameras import RandomCameras as RandomCameras
from .cameras import orbit as orbit
from .config.registry import register as register
from .config.schedule import Schedule as Schedule
from .engine.run import Run as Run
from .errors import UserError as UserError
from .evaluate.scorer import Scorer as Scorer
from .export.mesh_io import write_mesh as write_mesh
from .renderers.mesh import MeshRenderer as MeshRenderer
from .renderers.shading import Shading as Shading
from .renderers.volume import VolumeRenderer as VolumeRenderer
from .scenes.background import Solid as Solid
from .scenes.field import Field as Field
from .scenes.flexicubes import FlexiCubes as FlexiCubes
from .scenes.mesh import Mesh as Mesh
from .scenes.tetmesh import TetMesh as TetMesh

COMPONENTS: dict[str, dict[str, str]]
