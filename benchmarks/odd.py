"""Lists what users type by mistake: values of every type, keys of threestudio, overrides, options."""

import shlex

import yaml

SMALL = tuple(
    yaml.safe_load("[0, 1, 2, 3, -1, -2, 0.5, -0.5, 0.001, -0.001, 1.0e-30, 1.0e-320, 2.5, true, false, null]")
)
HUGE = (
    *(1e3, 1e9, 1e30, 1e308, 10**23, 10**400, 2**31, 2**63, -(2**63), 8192, 65536, 90),
    *map(float, ("nan", "inf", "-inf")),
)
WORDS = (
    *"x auto null 010 1:30 1e3 nearest cpu sds field main nan ../x ~ ~nobody-here/x - = %s {} on +1".split(),
    *".5 0x10 1_000 *a ²".split(),
    *(
        "",
        " ",
        "${nope}",
        "${prompt}",
        "${",
        "${oc.env:HOME}",
        "\\${a}",
        "ä 漢字 🐤",
        "a\nb",
        "a\tb",
        "é" * 400,
        "a red chair",
    ),
    *("\ud800", "\0", "\x1b[2J", "2026-01-01", "!!python/name:os.x", "9" * 5000),
)
BLOCKS = tuple(
    yaml.safe_load(line)
    for line in """
    []
    [0]
    [0, 0]
    [1, -1]
    [3, 2, 1]
    [a]
    [[1]]
    [null]
    [{}]
    [true, x]
    [sds]
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    [.nan, .inf]
    {}
    {a: 1}
    {0: 1, 5: 2}
    {0: 1, x: 2}
    {0: 1, '0': 2}
    {²: 1}
    {-1: 2}
    {1.5: 2}
    {null: 1, a: 2}
    {'': 1}
    {true: 1}
    {0: null}
    {0: [1]}
    {ramp: {0: 1, 2: 0.5}}
    {ramp: {}}
    {ramp: [1]}
    {ramp: {0: 1}, x: 1}
    {ramp: {0: .nan}}
    {type: sds}
    {type: null}
    {type: [1]}
    {type: {a: 1}}
    {type: ''}
    {type: nope, x: 1, 2: 3}
    {a.b: 1}
    {a: {b: {c: {d: [{e: null}]}}}}
    {stage: main}
    {mesh: nope.obj}
    {text: 5}
    2026-01-01
    !!binary aGVsbG8=
    !!set {a, b}
    """.strip().splitlines()
)
FROM_THREESTUDIO = yaml.safe_load("""
    system_type: dreamfusion-system
    data_type: random-camera-datamodule
    exp_root_dir: outputs
    name: run
    tag: x
    use_timestamp: true
    data: {batch_size: 1, width: 64}
    trainer: {max_steps: 10}
    system: {geometry_type: implicit-volume, geometry: {isosurface_threshold: 10, radius: 1.0}}
    guidance: {guidance_scale: 100.0}
    guidance_type: stable-diffusion-guidance
    geometry: implicit-volume
    prompt_processor: {prompt: a hamburger}
    loggers: {wandb: {enable: false}}
    checkpoint: {save_last: true}
    optimizer: {name: Adam, args: {lr: 0.01}}
    material_type: no-material
    background: {color: [1, 1, 1]}
""")
OVERRIDES = (
    *"key = =1 a..b=1 steps.=1 .steps=1 +steps=1 ~steps steps==1 --steps=1 steps:1 steps=[1 steps=' steps=&a".split(),
    *"steps=*a steps=!!python/name:os.x é=1 steps=@ steps=% steps=| -=1 stages.x.steps=1 stages=1 lr.0=1".split(),
    *"lr.²=1 vars=[] seed=1,2 imports=[nope] imports=nope imports=[sys.x] imports=[''] imports=[.x]".split(),
    *"imports=[5] extends=x scene.type=[a] out= out=. out=.. out=recipe.yaml out=~ out=~nobody-here/x".split(),
    *"out=[a] out=5 system=[a] system={a:1} cluster.gpus=1".split(),
    *(
        "a b=1",
        "steps= 1",
        "steps={a: 1",
        "a=\t",
        "steps=" + "[" * 400,
        "steps=" + "{a: " * 300,
        "prompt=\ud800",
        "seed=\0",
    ),
)
OPTIONS = tuple(
    shlex.split(line)
    for line in r"""
    --resume
    --resume .
    --resume nope
    --resume ~nobody-here/x
    --test
    --export
    --export ''
    --stage x
    --stage ''
    --stage main
    --generate
    --generate n=0
    --generate n=x
    --generate image=nope.png
    --generate image=~nobody-here/x
    --table --sweep seed=0,1
    --table --sweep seed
    --table --sweep =1
    --table --sweep steps=1,1
    --table --sweep steps=[1,2],3
    --table --sweep a.b={,
    --table --sweep "prompt='a, b',c"
    --table --sweep seed=0,1 out=[1]
    --table --sweep seed=0,1 --stage main
    --table --sweep seed=0,1 cluster.time=x
    --table --sweep seed=0,1 --workers=-1
    --table --sweep system=[a],{b:1}
    --sweep
    --table
    --workers 0
    --workers x
    --retries -1
    --cluster slurm
    --cluster pbs
    --help
    -h
    --help imports=5
    --help stages=[a]
    --help system=[a]
    --
    --chekc
    --config
    --config ''
    --config .
    --config nope
    --config dreamfusoin
    --config backbones/toybox
    --config comparisons/nope
    --config ~nobody-here/x
    --gpu 0
    --train
    -c
    --check=1
    ''
    --check --resume
    --generate --table
    """.strip().splitlines()
)
