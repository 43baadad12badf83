"use strict";
// Jobs that ended, by day: bars on top of each other, in the page's own colours.
const ORDER = ["completed", "failed", "cancelled"];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function stacked(data) {
  const below = data.dates.map(() => 0);
  // uPlot draws in order, so the highest sums come first and the lower ones over them.
  return ORDER.map((name) => data[name].map((value, day) => (below[day] += value))).reverse();
}

function draw(place) {
  const data = JSON.parse(place.dataset.chart);
  const days = data.dates.map((_, day) => day);
  const label = (day) => (data.dates[day] ?? "").slice(5).replace("-", "/");
  const top = Math.max(1, ...stacked(data)[0]);
  const axis = { stroke: color("quiet"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  place.replaceChildren();
  const options = {
    width: place.clientWidth,
    height: 180,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    legend: { show: true, live: true, markers: { width: 0 } },
    scales: { x: { time: false, range: [-0.6, days.length - 0.4] }, y: { range: [0, top * 1.05] } },
    axes: [
      { ...axis, grid: { show: false }, size: 28, space: 44, incrs: [1, 2, 7], values: (_, at) => at.map(label) },
      { ...axis, size: 44, space: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8] },
    ],
    series: [
      { label: "Day", value: (_, day) => (day == null ? "-" : data.dates[day]) },
      ...[...ORDER].reverse().map((name) => ({
        label: name,
        fill: color(name),
        stroke: color(name),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars({ size: [0.62, 26], radius: 0.1 }),
        // The bar is a sum; what is told is the day's own number.
        value: (_, __, ___, day) => (day == null ? "-" : data[name][day]),
      })),
    ],
  };
  const chart = new uPlot(options, [days, ...stacked(data)], place);
  chart.setCursor({ left: chart.valToPos(days.length - 1, "x"), top: 0 });
  return chart;
}

for (const place of document.querySelectorAll("[data-chart]")) {
  let chart = draw(place);
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 180 })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    chart.destroy();
    chart = draw(place);
  });
}
