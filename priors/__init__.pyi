from .condition import Condition as Condition
from .guidance.base import Guidance as Guidance
from .guidance.csd import CSD as CSD
from .guidance.ism import ISM as ISM
from .guidance.sdi import SDI as SDI
from .guidance.sds import SDS as SDS
from .guidance.vsd import VSD as VSD
from .loading import load as load
from .reconstructor import Reconstructor as Reconstructor
from .text import Prompt as Prompt

COMPONENTS: dict[str, dict[str, str]]
