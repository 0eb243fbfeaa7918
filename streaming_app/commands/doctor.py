"""`python -m streaming_app doctor`: explains the checkpoints, finds what disagrees, mends what can be mended."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.config import Loaded
from streaming_app.config.models import SourceName
from streaming_app.errors import ConfigError
from streaming_app.places import enabled_sources
from streaming_app.quality import Suite

if TYPE_CHECKING:
    from streaming_app.doctor import Diagnosis, Repaired

_DISAGREES: Final = 1
_LATELY: Final = 60.0  # seconds; a checkpoint that was written to within them seems to be in use


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser("doctor", help="explain the checkpoints, find what disagrees, mend what can be mended")
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument(
        "--repair", action="store_true", help="mend what can be mended without loss; stop the service first"
    )
    parser.add_argument(
        "--stopped", action="store_true", help="the service is stopped: repair though it wrote a moment ago"
    )
    parser.set_defaults(command=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """0 when nothing disagrees (after a repair: any more), 1 otherwise."""
    from streaming_app.doctor import diagnose  # noqa: PLC0415 - imports boto3

    loaded, suite = load_all(options.config, options.overrides)
    reports = []
    healthy = True
    for source in SourceName.INPUT_SOURCE:
        diagnosis = diagnose(_place(loaded, source))
        if not diagnosis.state.begun and source not in enabled_sources(loaded.config):
            continue
        repaired = _repaired(loaded, suite, diagnosis, stopped=options.stopped) if options.repair else None
        if repaired and repaired.done:
            diagnosis = diagnose(diagnosis.place)
        healthy = healthy and diagnosis.healthy
        reports.append(_report(diagnosis, repaired, as_json=options.json))
    print(json.dumps({"healthy": healthy, "sources": reports}, indent=2) if options.json else "\n\n".join(reports))  # noqa: T201 - the output
    return 0 if healthy else _DISAGREES


def _place(loaded: Loaded, source: str) -> Any:
    from streaming_app.doctor.state import Place  # noqa: PLC0415 - see run_doctor

    return Place.of(loaded, source)


def _repaired(loaded: Loaded, suite: Suite, diagnosis: Diagnosis, *, stopped: bool) -> Repaired:
    """Raises ConfigError when the service seems to run."""
    from streaming_app.doctor import repair  # noqa: PLC0415 - see run_doctor

    changed = diagnosis.changed
    if (
        any(finding.mendable for finding in diagnosis.findings)
        and not stopped
        and changed is not None
        and changed < _LATELY
    ):
        raise ConfigError(
            f"{diagnosis.place.checkpoint.uri} was written to {changed:.0f} s ago: the service seems to run. Stop it, then"
            " add --stopped, or ask again a minute later"
        )
    return repair(loaded, suite, diagnosis)


def _report(diagnosis: Diagnosis, repaired: Repaired | None, *, as_json: bool) -> Any:
    from streaming_app.doctor import render  # noqa: PLC0415 - see run_doctor

    if as_json:
        mended = {"repaired": list(repaired.done), "refused": repaired.refused} if repaired else {}
        return diagnosis.to_json() | mended
    lines = [f"  repaired  {line}" for line in repaired.done] if repaired else []
    lines += [f"  refused   {repaired.refused}"] if repaired and repaired.refused else []
    return "\n".join([render(diagnosis), *lines])
