// Charts of an agent's history. The numbers are JSON in a part of the page that polls; the charts follow its changes.
// All charts share one time scale: drag to zoom in, double-click to zoom out.
document.addEventListener("DOMContentLoaded", () => {
  "use strict";
  const place = document.getElementById("agent-charts");
  const source = document.getElementById("agent-series");
  if (!place || !source || typeof uPlot === "undefined") return;

  const HEIGHT = 150;
  const count = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  const money = (value) => {
    if (value === 0) return "$0";
    return `$${value >= 0.1 ? value.toFixed(2) : value.toPrecision(2)}`;
  };
  const seconds = (value) => {
    if (value < 120) return `${+value.toFixed(value < 10 ? 1 : 0)} s`;
    return value < 7200 ? `${Math.round(value / 60)} min` : `${+(value / 3600).toFixed(1)} h`;
  };
  const megabytes = (value) => `${count.format(value)} MB`;

  // A stacked series is drawn as the sum of both, behind the other one.
  const CHARTS = [
    {
      title: "Tokens",
      say: count.format,
      series: [
        { label: "Total", of: ["tokens"] },
        { label: "Without a known price", of: ["unpriced"], color: "--chart-2" },
      ],
    },
    {
      title: "Spend",
      say: money,
      series: [
        { label: "As reported", of: ["priced", "reported"], own: "reported", color: "--chart-2" },
        { label: "Priced by the server", of: ["priced"] },
      ],
    },
    {
      title: "Heartbeats",
      say: count.format,
      series: [
        { label: "Total", of: ["beats"] },
        { label: "Errors", of: ["errors"], color: "--chart-bad" },
      ],
    },
    { title: "Tool calls", say: count.format, series: [{ label: "Calls", of: ["tool_calls"] }] },
    { title: "Longest gap between heartbeats", say: seconds, line: true, series: [{ label: "Gap", of: ["gap"] }] },
    { title: "Memory", say: megabytes, line: true, series: [{ label: "Maximum", of: ["memory_mb"] }] },
  ];

  const color = (name) => getComputedStyle(place).getPropertyValue(name).trim();
  const summed = (data, names) =>
    names.length === 1 ? data[names[0]] : data.at.map((_, at) => names.reduce((sum, name) => sum + data[name][at], 0));
  // An empty step after the last one leaves room for its bar.
  const columns = (chart, data) => [
    [...data.at, data.at[data.at.length - 1] + data.step],
    ...chart.series.map((one) => [...summed(data, one.of), null]),
  ];
  const own = (one) => one.own || one.of[0];
  const isShown = (chart, data) => chart.series.some((one) => data[own(one)].some((value) => value));

  const axis = (rest) => ({
    stroke: color("--soft"),
    grid: { stroke: color("--chart-grid"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
    ...rest,
  });

  // Without a cursor, the legend shows the total, or the last value of a line.
  const overall = (chart, values) => {
    const known = values.filter((value) => value !== null);
    return chart.line ? known[known.length - 1] : known.reduce((sum, value) => sum + value, 0);
  };
  const value = (chart, one) => (self, _, __, at) => {
    const values = self.numbers[own(one)];
    const found = at === null || at === undefined ? overall(chart, values) : values[at];
    return found === null || found === undefined ? "–" : chart.say(found);
  };

  const seriesOf = (chart, one) => ({
    label: one.label,
    stroke: color(one.color || "--chart-1"),
    fill: chart.line ? undefined : color(one.color || "--chart-1"),
    width: chart.line ? 2 : 0,
    paths: chart.line ? undefined : uPlot.paths.bars({ size: [0.8, 40], align: 1 }),
    points: { show: chart.line ? undefined : false, size: 4 },
    spanGaps: true,
    value: value(chart, one),
  });

  const clocks = (zone) => {
    const format = (parts) => new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: zone });
    const hour = format({ hour: "2-digit", minute: "2-digit" });
    const day = format({ day: "numeric", month: "short" });
    const tick = (at) => (hour.format(at * 1000) === "00:00" ? day : hour).format(at * 1000);
    return { tick, moment: (at) => `${day.format(at * 1000)} ${hour.format(at * 1000)}` };
  };

  const drawn = (chart, figure, data) => {
    const clock = clocks(data.zone);
    const none = chart.line ? "last" : "total";
    const plot = new uPlot(
      {
        width: figure.clientWidth - 24,
        height: HEIGHT,
        tzDate: (at) => uPlot.tzDate(new Date(at * 1000), data.zone),
        cursor: { sync: { key: "agent" }, points: { size: 7 } },
        scales: { y: { range: (self, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [
          axis({ space: 56, size: 28, values: (self, ticks) => ticks.map(clock.tick) }),
          axis({ size: 64, space: 28, values: (self, ticks) => ticks.map((tick) => chart.say(tick)) }),
        ],
        series: [
          { label: "Time", value: (self, at) => (at === null || at === undefined ? none : clock.moment(at)) },
          ...chart.series.map((one) => seriesOf(chart, one)),
        ],
        hooks: { init: [(self) => { self.numbers = data; }] },
      },
      columns(chart, data),
      figure,
    );
    return plot;
  };

  let plots = [];
  const framed = (chart, data) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = chart.title;
    figure.append(caption);
    place.append(figure);
    return { chart, figure, plot: drawn(chart, figure, data) };
  };
  const build = (data) => {
    if (!place.clientWidth) return; // in a tab that is not open, which has no room to draw in
    for (const { plot, figure } of plots) {
      plot.destroy();
      figure.remove();
    }
    plots = CHARTS.filter((chart) => isShown(chart, data)).map((chart) => framed(chart, data));
    place.plots = plots;
  };

  // The zoom stays when new numbers arrive.
  const zoomed = ({ scales, data }) => {
    const { min, max } = scales.x;
    return min > data[0][0] || max < data[0][data[0].length - 1] ? { min, max } : null;
  };
  const refresh = (data) => {
    if (!place.clientWidth) return;
    if (CHARTS.some((chart) => isShown(chart, data) !== plots.some((one) => one.chart === chart))) return build(data);
    for (const { chart, plot } of plots) {
      const kept = zoomed(plot);
      plot.numbers = data;
      plot.setData(columns(chart, data));
      if (kept) plot.setScale("x", kept);
    }
  };

  const numbers = () => JSON.parse(source.textContent);
  build(numbers());
  new MutationObserver(() => refresh(numbers())).observe(source, { childList: true, characterData: true, subtree: true });
  let isDark = document.documentElement.classList.contains("dark");
  new MutationObserver(() => {
    if (isDark === document.documentElement.classList.contains("dark")) return;
    isDark = !isDark;
    build(numbers());
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (width === place.clientWidth) return;
    const wasHidden = !width;
    width = place.clientWidth;
    if (!width) return;
    if (wasHidden) return build(numbers());
    for (const { plot, figure } of plots) plot.setSize({ width: figure.clientWidth - 24, height: HEIGHT });
  }).observe(place);
});
