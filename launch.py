"""The one launcher: `python launch.py --config dreamfusion.yaml prompt="a red chair" seed=1`."""

import argparse
import errno
import logging
import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch and numba have a thread pool each, and idle ones would spin

USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}


EXAMPLES = """examples:
  python launch.py --config geco.yaml --generate image=docs/images/purple-chair.png
  python launch.py --config dreamfusion.yaml prompt="a red chair" seed=1
  python launch.py --config dreamfusion.yaml --workers 2 --sweep seed=0,1,2 guidance.rgb.method.scale=3,5
  python launch.py --config comparisons/quick.yaml --workers 2

exit codes: 0 done, 1 failed, 2 a mistake of yours (said in a line), 130 stopped by Ctrl-C and saved"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    about = "Runs a recipe: every stage, then evaluation and export."
    parser = argparse.ArgumentParser(
        prog="launch.py", description=about, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", required=True, metavar="NAME", help="a recipe or comparison: a name in configs/, or a path"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="parse and build, say what would run, and stop")
    what.add_argument("--resume", action="store_true", help="go on where this run stopped, exactly")
    what.add_argument("--test", action="store_true", help="evaluate a finished run again")
    what.add_argument("--export", action="store_true", help="export a finished run again")
    what.add_argument(
        "--generate",
        action="store_true",
        help="image=FILE_OR_FOLDER or prompt=TEXT to meshes, n=N of each (1), in one pass (GECO)",
    )
    what.add_argument("--sweep", nargs="+", metavar="key=a,b,c", help="a grid of runs; what is done is not run again")
    many = parser.add_argument_group("with --sweep, and for a comparison")
    many.add_argument("--table", action="store_true", help="only print how far it is, and what was found so far")
    many.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once")
    many.add_argument("--retries", type=int, default=0, metavar="N", help="new tries of a run that fails")
    many.add_argument(
        "--cluster", choices=["slurm"], help="runs are its jobs: cluster.partition=, .time= (minutes), .gpus="
    )
    parser.add_argument("--stage", metavar="S", help="only this stage")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="keys that replace the recipe's; out=FOLDER is where the results go",
    )
    parser.set_defaults(many=False)
    return parser.parse_intermixed_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 a mistake that the user can mend, 130 interrupted and saved."""
    given = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "lightning_fabric", "numba", "matplotlib", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from threestudio_like.engine.allocator import keep_freed_pages
    from threestudio_like.engine.run_folder import BUSY, INTERRUPTED, BusyError
    from threestudio_like.engine.trainer import NonFiniteError, StoppedError
    from threestudio_like.errors import NoSurfaceError, UserError

    keep_freed_pages()
    try:
        return carry_out(given)
    except UserError as error:
        return fail(str(error), BUSY if isinstance(error, BusyError) else 2)
    except OSError as error:
        if error.errno not in USER_ERRNOS and "cannot write" not in str(error):
            raise
        return fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 2)
    except (NonFiniteError, NoSurfaceError) as error:
        return fail(f"{error}; the checkpoint before it is kept", 1)
    except (StoppedError, KeyboardInterrupt) as error:
        again = shlex.join(["python", "launch.py", *(sys.argv[1:] if argv is None else argv)])
        how = "" if given.resume or given.many else " --resume"
        return fail(f"{error or 'stopped'}; to go on: {again}{how}", INTERRUPTED)


def carry_out(given: argparse.Namespace) -> int:
    from threestudio_like.config.loading import find_recipe, load
    from threestudio_like.config.recipe import parse_recipe
    from threestudio_like.engine.run import Run
    from threestudio_like.experiments import sweep
    from threestudio_like.experiments.comparison import is_comparison, parse_comparison
    from threestudio_like.experiments.slurm import read_cluster

    if given.sweep:
        given.axes, shared = sweep.axes(given.sweep)
        given.overrides = [*given.overrides, *shared]
    if given.generate:
        from systems.geco.evaluation import evaluate_reconstruction
        from systems.geco.generate import generate, take_request

        request, given.overrides = take_request(given.overrides)
    given.cluster_keys, given.overrides = read_cluster(given.overrides)
    plain = load(given.config, given.overrides)
    name = find_recipe(given.config).stem
    given.many = bool(given.sweep) or is_comparison(plain)
    fits(given, is_comparison(plain))
    if is_comparison(plain):
        return compare(given, parse_comparison(plain, name, find_recipe(given.config).parent))
    recipe = parse_recipe(plain, name)
    if given.generate:
        folder, code = generate(recipe, request, evaluate_reconstruction)
        print(folder)
        return code
    if given.sweep:
        folder = Path(recipe.run.out or f"outputs/sweeps/{name}")
        jobs = sweep.grid(given.axes, folder, given.config, tuple(given.overrides))
        if not given.table:
            run_all(given, jobs)
        print(sweep.table(jobs))
        return 0 if given.table or all(job.status == "done" for job in jobs) else 1
    run = Run(recipe)
    if given.check:
        print("\n".join(run.check()))
        return 0
    if given.test or given.export:
        run.test(given.stage, export_only=given.export)
    else:
        run.start(given.resume, given.stage)
        run.train(given.stage)
    print(f"{run.folder}")
    return 0


def fits(given: argparse.Namespace, comparison: bool) -> None:
    """Raises UserError for an option that means nothing for what is run."""
    from threestudio_like.errors import UserError
    from threestudio_like.experiments.slurm import Cluster

    def asked(*names):
        return [f"--{name}" for name in names if getattr(given, name)]

    if comparison and (wrong := asked("resume", "test", "export", "generate", "sweep", "stage")):
        raise UserError(
            f"{wrong[0]} is for a recipe; a comparison goes on where it was when its command is given again"
        )
    if given.sweep and (wrong := asked("stage")):
        raise UserError(f"{wrong[0]} is for one run, not for a sweep")
    alone = asked("table", "cluster", "retries") + ["--workers"] * (given.workers != 1)
    if not given.many and alone:
        raise UserError(f"{alone[0]} goes with --sweep or a comparison; a single run has none")
    if given.cluster_keys != Cluster() and not given.cluster:
        raise UserError("cluster.: these keys go with --cluster slurm")


def compare(given: argparse.Namespace, comparison) -> int:
    """Runs what a comparison misses and writes its report; 0 where all of it is done."""
    from threestudio_like.experiments import report, sweep
    from threestudio_like.experiments.metrics import measure, prepare

    jobs = [cell.job for cell in comparison.cells]
    if not given.table:
        prepare(comparison)
    if given.check:
        sweep.check(jobs)
        done = sum(job.status == "done" for job in jobs)
        print(f"{done} of {len(jobs)} runs are done; would report in {comparison.folder}")
        return 0
    if given.table:
        print(f"{sweep.table(jobs)}\n\n{report.tables.markdown(measure(comparison))}")
        return 0
    run_all(given, [cell.job for cell in comparison.in_turn])
    results = measure(comparison)
    for written in report.write(results, comparison.folder):
        print(written)
    return 0 if all(job.status == "done" for job in jobs) else 1


def run_all(given: argparse.Namespace, jobs: list) -> None:
    """Here, or on the cluster; a mistake in any run is told before the first."""
    from threestudio_like.experiments import slurm, sweep

    sweep.check(jobs)
    if given.cluster == "slurm":
        slurm.run(jobs, given.cluster_keys, given.retries)
    else:
        sweep.run(jobs, given.workers, given.retries)


def fail(message: str, code: int) -> int:
    print(message if code == 130 else f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
