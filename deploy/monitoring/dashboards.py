"""Makes deploy/monitoring/grafana/*.json of panels.py with Grafana's own SDK: `python deploy/monitoring/dashboards.py`.

For Grafana 11.6 and later. A test holds the files equal to what this makes.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueTextMode,
    GraphDrawStyle,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from panels import BOARDS, Board, Panel  # noqa: E402 - beside this file, wherever it is started

FOLDER = Path(__file__).parent / "grafana"
_SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
_HEIGHTS = {"stat": 4}


def made(board: Board) -> str:
    """The dashboard's JSON."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.text)
        .tags(["qsr-ingest"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_instances())
        .link(
            dashboard.DashboardLink("qsr-ingest")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["qsr-ingest"])
            .include_vars(True)
            .keep_time(True)
        )
    )
    number = count(1)
    for title, panels in board.rows:
        builder = builder.with_row(dashboard.Row(title).id(next(number)))
        for panel in panels:
            builder = builder.with_panel(_panel(panel).id(next(number)))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _instances() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("instance")
        .label("Service")
        .datasource(_SOURCE)
        .query("label_values(qsr_ready, instance)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    builder = _stat(panel) if panel.kind == "stat" else _series(panel)
    builder = builder.title(panel.title).description(panel.text).unit(panel.unit).datasource(_SOURCE).min(0)
    builder = builder.height(_HEIGHTS.get(panel.kind, 8)).span(panel.width)
    for number, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend or "__auto")
            .ref_id(chr(ord("A") + number))
        )
        builder = builder.with_target(target.instant() if panel.kind == "stat" else target.range())
    return builder


def _stat(panel: Panel) -> stat.Panel:
    named = any(query.legend for query in panel.queries)
    builder = stat.Panel().text_mode(_text_mode(panel, named=named)).color_mode(BigValueColorMode.VALUE)
    return builder.thresholds(_thresholds(panel))


def _text_mode(panel: Panel, *, named: bool) -> BigValueTextMode:
    if panel.title in {"Version", "Suite in force"}:
        return BigValueTextMode.NAME
    return BigValueTextMode.VALUE_AND_NAME if named else BigValueTextMode.VALUE


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    low, high = ("red", "green") if panel.good_above else ("green", "red")
    steps = [Threshold(value=None, color=low)]
    if panel.bad is not None:
        steps.append(Threshold(value=panel.bad, color=high))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _series(panel: Panel) -> timeseries.Panel:
    builder = timeseries.Panel().tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)).line_width(1)
    if panel.kind == "stacked":
        builder = builder.fill_opacity(60).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if panel.kind == "bars":
        builder = builder.draw_style(GraphDrawStyle.BARS).fill_opacity(60)
    return builder


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(made(board))


if __name__ == "__main__":
    main()
