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

  // A table as CSV, numbers with a minus that spreadsheets read.
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => {
    const text = cell.textContent.trim().replace(/^\u2212(?=[\d.])/, "-");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",")).join("\n") + "\n";
  document.querySelectorAll(".scroll").forEach((scroll) => {
    const save = document.createElement("button");
    save.type = "button";
    save.className = "csv";
    save.textContent = "Save as CSV";
    save.setAttribute("aria-label", `Save as CSV: ${scroll.getAttribute("aria-label")}`);
    save.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(scroll.querySelector("table"))], { type: "text/csv" }));
      link.download = `${scroll.getAttribute("aria-label").toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60)}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
    scroll.after(save);
  });

  // A term's meaning beside it, while the pointer or the focus is on it; its link leads to the list at the end.
  const meaning = document.createElement("div");
  meaning.className = "meaning";
  meaning.id = "meaning";
  meaning.setAttribute("role", "tooltip");
  meaning.hidden = true;
  document.body.append(meaning);
  const explain = (term) => {
    meaning.textContent = document.querySelector(`${term.getAttribute("href")} dd`).textContent;
    meaning.hidden = false;
    const at = term.getBoundingClientRect();
    const box = meaning.getBoundingClientRect();
    const below = at.bottom + 6 + box.height < innerHeight;
    meaning.style.left = `${Math.max(8, Math.min(at.left, root.clientWidth - box.width - 8))}px`;
    meaning.style.top = `${below ? at.bottom + 6 : at.top - 6 - box.height}px`;
    term.setAttribute("aria-describedby", "meaning");
  };
  const leave = (term) => { meaning.hidden = true; term.removeAttribute("aria-describedby"); };
  document.querySelectorAll("a.term").forEach((term) => {
    ["pointerenter", "focus"].forEach((name) => term.addEventListener(name, () => explain(term)));
    ["pointerleave", "blur"].forEach((name) => term.addEventListener(name, () => leave(term)));
    term.addEventListener("keydown", (event) => { if (event.key === "Escape") leave(term); });
  });

  // Paper has another width and another scheme than the window, and nothing on it opens.
  const PAPER = 680;  // pixels that A4 and Letter leave between their margins
  let before = null;
  window.addEventListener("beforeprint", () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    before = { theme: root.dataset.theme, closed };
    closed.forEach((one) => { one.open = true; });
    root.dataset.theme = "light";
    recolour();
    plots.forEach((plot) => plot.classList.contains("js-plotly-plot") && Plotly.relayout(plot, { width: PAPER }));
  });
  window.addEventListener("afterprint", () => {
    if (!before) return;
    before.closed.forEach((one) => { one.open = false; });
    if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
    plots.forEach((plot) => plot.classList.contains("js-plotly-plot") && Plotly.relayout(plot, { width: null, autosize: true }));
    recolour();
    before = null;
  });

  label();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolour();
  });
  dark.addEventListener("change", recolour);
  plots.reduce((before, plot) => before.then(() => draw(plot)), Promise.resolve())
    .then(() => { root.dataset.drawn = String(plots.length); });
})();
