"""Installs the framework; `constraints.txt` pins what was tested."""

from setuptools import find_packages, setup

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
    packages=find_packages(include=["threestudio_like*", "systems*", "priors*"]),
    package_data={"threestudio_like.experiments.report": ["page.html"]},
    install_requires=[
        "torch>=2.6",
        "diffusers>=0.35",
        "transformers>=4.50",
        "lightning-fabric>=2.5",
        "omegaconf>=2.4",
        "numba>=0.61",
        "numpy>=2.0",
        "safetensors>=0.5",
        "jaxtyping>=0.3",
        "imageio>=2.37",
        "imageio-ffmpeg>=0.6",
        "tensorboard>=2.19",
        "trimesh>=4.6",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "peft>=0.17",
        "pillow>=11.0",
        "scikit-image>=0.25",
        "scipy>=1.15",
        "torchmetrics>=1.6",
        "tqdm>=4.66",
        "xatlas>=0.0.9",
    ],
    extras_require={
        "test": ["pytest>=8", "submitit>=1.5"],
        "slurm": ["submitit>=1.5"],
        "paper": ["accelerate>=1.0", "protobuf>=5", "sentencepiece>=0.2"],
    },
)
