"""Installs the framework; `constraints.txt` pins what was tested."""

from setuptools import find_packages, setup

REPORT = ["av>=15.0", "fast-simplification>=0.1.11", "jinja2>=3.1", "matplotlib>=3.9"]
SLURM = ["submitit>=1.5"]
VIEWER = ["viser>=1.0"]
DEMO = [
    "gradio>=6.31"
]  # takes Pillow below 13, so it is installed without constraints.txt, and not by the extra `test`

CUDA = [
    "triton>=3.2; sys_platform == 'linux'",  # which torch brings along on Linux; MIT
    "nerfacc>=0.5.3",  # MIT
    "tinycudann @ git+https://github.com/NVlabs/tiny-cuda-nn#subdirectory=bindings/torch",  # BSD-3-Clause
]
"""Faster operations on CUDA, of packages that all may use; nothing needs them."""

CONFIGS = "threestudio_like.configs"
"""Where a wheel has the recipes; see threestudio_like/utils/paths.py."""

setup(
    name="threestudio-like",
    version="0.1.0",
    description="An open framework for text-to-3D and image-to-3D by distilling diffusion priors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Multimedia :: Graphics :: 3D Modeling",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=[*find_packages(include=["threestudio_like*", "systems*", "priors*"]), CONFIGS],
    package_dir={CONFIGS: "configs"},
    package_data={
        "threestudio_like": ["py.typed", "__init__.pyi"],
        "threestudio_like.experiments.gallery": ["*.html", "*.css", "*.js", "three/*"],
        "threestudio_like.experiments.report": ["page.html"],
        "priors": ["py.typed", "__init__.pyi", "weights/**/*"],
        "systems": ["py.typed", "memory/*.json"],
        CONFIGS: ["**/*.yaml"],
    },
    entry_points={"console_scripts": ["threestudio-like = threestudio_like.cli:main"]},
    install_requires=[
        "annotated-types>=0.7",  # the ranges of recipes' keys
        "diffusers>=0.35",
        "filelock>=3.16",
        "huggingface_hub>=0.34",
        "imageio>=2.37",
        "imageio-ffmpeg>=0.6",  # imageio's writer of turntables
        "jaxtyping>=0.3",
        "lazy-loader>=0.4",
        "lightning-fabric>=2.5",
        "numba>=0.61",
        "numpy>=2.0",
        "omegaconf>=2.4",
        "peft>=0.17",
        "pillow>=11.0",
        "psutil>=6; sys_platform == 'win32'",  # the peak of memory, which elsewhere the standard library knows
        "pyyaml>=6.0",
        "safetensors>=0.5",
        "scikit-image>=0.25",
        "scipy>=1.15",
        "tensorboard>=2.19",  # torch.utils.tensorboard's writer
        "tokenizers>=0.21",
        "torch>=2.6",
        "tqdm>=4.66",
        "transformers>=5.0",  # whose slow tokenizers tell offsets too
        "trimesh>=4.6",
        "xatlas>=0.0.9",
    ],
    extras_require={
        "report": REPORT,  # the reports of comparisons, and galleries
        "slurm": SLURM,  # --cluster slurm
        "paper": ["accelerate>=1.0", "protobuf>=5", "sentencepiece>=0.2"],  # DeepFloyd IF, and T5s
        "cuda": CUDA,  # needs an NVIDIA GPU, the CUDA toolkit, torch installed before, and --no-build-isolation
        "nvdiffrast": ["nvdiffrast @ git+https://github.com/NVlabs/nvdiffrast"],  # as `cuda`; non-commercial use only
        "kaolin": ["kaolin>=0.18"],  # from NVIDIA's index of wheels, of an older torch; Apache-2.0
        "lpips": ["torchmetrics>=1.6", "torchvision>=0.21"],  # `perceptual: {type: lpips}`
        "viewer": VIEWER,  # --view
        "demo": DEMO,  # --demo
        "dae": ["pycollada>=0.9"],  # reads COLLADA files in folders of meshes
        "wandb": ["wandb>=0.18"],  # `logger: [wandb]`
        "rembg": ["rembg[cpu]>=2.0.60"],  # cuts objects out of photographs
        "test": [
            *REPORT,
            *SLURM,
            *VIEWER,
            "beartype>=0.20",
            "dockerfile-parse>=2.0",  # the Dockerfile is checked where it cannot be built
            "hypothesis>=6.100",  # properties of pure functions, for values that nobody thought of
            "mypy>=1.15",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "types-PyYAML>=6.0",
            "usd-core>=25.5",  # reads USDZ
            "websockets>=14",  # drives the browser in which pages are tested
        ],
        "docs": ["mkdocstrings-python>=1.16", "zensical>=0.0.60"],
    },
)
