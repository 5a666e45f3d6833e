"use strict";
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const button = document.querySelector("button.theme");

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const colours = () => {
    const style = getComputedStyle(root);
    return {
      "font.color": style.getPropertyValue("--ink").trim(),
      "hoverlabel.bgcolor": style.getPropertyValue("--card").trim(),
      "hoverlabel.font.color": style.getPropertyValue("--ink").trim(),
    };
  };
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };

  const draw = async (plot) => {
    const figure = figures[plot.dataset.figure];
    const layout = { ...figure.layout, dragmode: touch ? false : "zoom" };
    await Plotly.newPlot(plot, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
    await Plotly.relayout(plot, colours());
  };
  const recolour = () => {
    label();
    plots.forEach((plot) => plot.classList.contains("js-plotly-plot") && Plotly.relayout(plot, colours()));
  };

  label();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolour();
  });
  dark.addEventListener("change", recolour);
  plots.reduce((before, plot) => before.then(() => draw(plot)), Promise.resolve())
    .then(() => { root.dataset.drawn = String(plots.length); });
})();
