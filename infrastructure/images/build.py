"""``make images``: build the base, every function and the worker on this machine."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from infrastructure.config.errors import ConfigError
from infrastructure.functions import BASE_REPOSITORY, WORKER_REPOSITORY, discover, repository_name
from infrastructure.images.engine import ENGINES, Build, Engine, ImageError, find_engine

VARIANTS = {"slim": "base-slim", "full": "base"}
MEGABYTE = 1_000_000
BUDGETS_MB = {"function": 350, "layer": 1, "worker": 300}


def base_build(
    tag: str,
    *,
    variant: str = "slim",
    arguments: dict[str, str] | None = None,
    contexts: dict[str, str] | None = None,
) -> Build:
    """Return the build of the base; `variant` is slim (portable engine) or full (with Plexus)."""
    return Build(
        dockerfile="docker/Dockerfile.base",
        tag=tag,
        target=VARIANTS[variant],
        arguments=arguments or {},
        contexts=contexts or {},
    )


def copy_sources(checkout: Path, package: str, target: Path) -> None:
    """Copy what an installer needs of a checkout: its package and its project's files. Raises ConfigError."""
    if not (checkout / package / "__init__.py").is_file():
        raise ConfigError(f"{checkout} has no package {package}: name the folder of its checkout")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*_test.py", "node_modules")
    shutil.copytree(checkout / package, target / package, ignore=ignored)
    for pattern in ("pyproject.toml", "setup.py", "README*", "LICENSE*"):
        for path in checkout.glob(pattern):
            shutil.copy(path, target / path.name)


@contextlib.contextmanager
def plexus_contexts(plexus: Path | None, cost_calculator: Path | None) -> Iterator[dict[str, str]]:
    """Give the build contexts of checkouts on disk: copies without what the image does not need."""
    with tempfile.TemporaryDirectory(prefix="plexus-images-") as folder:
        contexts = {}
        for name, package, checkout in (
            ("plexus-src", "plexus", plexus),
            ("cost-calculator-src", "openai_cost_calculator", cost_calculator),
        ):
            if checkout is not None:
                target = Path(folder) / name
                target.mkdir()
                copy_sources(checkout, package, target)
                contexts[name] = str(target)
        yield contexts


def function_build(name: str, tag: str, *, base: str, revision: str = "unknown") -> Build:
    """Return the build of one function on a base."""
    return Build(
        dockerfile="docker/Dockerfile.fn",
        tag=tag,
        arguments={"BASE_IMAGE": base, "FUNCTION": name, "REVISION": revision},
    )


def worker_build(tag: str, *, arguments: dict[str, str] | None = None) -> Build:
    """Return the build of the worker."""
    return Build(dockerfile="docker/Dockerfile.worker", tag=tag, arguments=arguments or {})


def local_builds(
    what: Sequence[str],
    *,
    variant: str,
    arguments: dict[str, str],
    contexts: dict[str, str] | None = None,
) -> list[Build]:
    """Return the builds of `what`, the base first. Raises ConfigError for an unknown name."""
    functions = discover()
    names = list(what) or ["base", *functions, "worker"]
    base = f"{BASE_REPOSITORY}:{variant}"
    builds = []
    for name in sorted(names, key=lambda name: name != "base"):
        if name == "base":
            builds.append(base_build(base, variant=variant, arguments=arguments, contexts=contexts))
        elif name == "worker":
            builds.append(worker_build(f"{WORKER_REPOSITORY}:local", arguments=arguments))
        elif name in functions:
            builds.append(function_build(name, f"{repository_name(name)}:local", base=base))
        else:
            known = ", ".join(["base", *functions, "worker"])
            raise ConfigError(f"no image {name!r}: there are {known}")
    return builds


def size_report(engine: Engine, *, variant: str = "slim") -> str:
    """Return the sizes of the images built here, and of each function's own layer, beside their budgets."""
    base = engine.size(f"{BASE_REPOSITORY}:{variant}")
    rows = []
    for name in discover():
        image = f"{repository_name(name)}:local"
        size = engine.size(image)
        rows += [
            (image, size, BUDGETS_MB["function"]),
            ("  its layer", size - base, BUDGETS_MB["layer"]),
        ]
    worker = f"{WORKER_REPOSITORY}:local"
    rows.append((worker, engine.size(worker), BUDGETS_MB["worker"]))
    lines = [f"{'image':<40} {'MB unpacked':>12} {'budget':>8}"]
    for image, size, budget in rows:
        excess = "  over" if size > budget * MEGABYTE else ""
        lines.append(f"{image:<40} {size / MEGABYTE:>12.2f} {budget:>8}{excess}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, or print sizes; return the exit status."""
    parser = argparse.ArgumentParser(prog="make images", description=__doc__)
    parser.add_argument("images", nargs="*", help="base, worker or a function's name; all if none")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument(
        "--variant", choices=sorted(VARIANTS), help="default: slim, and full with --plexus-src"
    )
    parser.add_argument("--plexus-src", type=Path, help="checkout of Plexus for the full base")
    parser.add_argument(
        "--cost-calculator", type=Path, help="checkout of openai_cost_calculator, for Plexus < 1.63"
    )
    parser.add_argument("--platform", help="for example linux/arm64")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--option", action="append", default=[], help="passed on to the engine")
    parser.add_argument("--sizes", action="store_true", help="print sizes, build nothing")
    options = parser.parse_args(arguments)
    variant = options.variant or ("full" if options.plexus_src else "slim")
    try:
        engine = dataclasses.replace(
            find_engine(options.engine), platform=options.platform, options=tuple(options.option)
        )
        if options.sizes:
            sys.stdout.write(size_report(engine, variant=variant) + "\n")
            return 0
        given = dict(pair.partition("=")[::2] for pair in options.build_arg)
        with plexus_contexts(options.plexus_src, options.cost_calculator) as contexts:
            for build in local_builds(
                options.images, variant=variant, arguments=given, contexts=contexts
            ):
                engine.build(build)
    except (ConfigError, ImageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
