"use strict";
// Draws the figures, lets the boxes show and hide methods in all of them, and leads from a point to its trials.
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    // named one by one: the library's own choice has a button that uploads the figure
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]],
    plotlyServerURL: "",
  };
  const places = Object.keys(plots).map((id) => document.getElementById(id));
  const boxes = [...document.querySelectorAll("fieldset.methods input")];

  // Views of hidden methods cannot be chosen; of a figure that has nothing else the axes are left.
  function choose(select, shown) {
    const options = [...select.options];
    for (const option of options) option.disabled = !shown.has(option.dataset.method);
    if (!select.selectedOptions[0] || select.selectedOptions[0].disabled) {
      select.selectedIndex = options.findIndex((option) => !option.disabled);
    }
    return Math.max(select.selectedIndex, 0);
  }

  function draw(place) {
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const select = document.getElementById(`${place.id}-view`);
    const { data, layout } = plots[place.id][select ? choose(select, shown) : 0];
    for (const trace of data) if (trace.meta) trace.visible = shown.has(trace.meta.method);
    Plotly.react(place, [...data], layout, config);
  }

  for (const place of places) {
    draw(place);
    document.getElementById(`${place.id}-view`)?.addEventListener("change", () => draw(place));
    place.on("plotly_click", ({ points }) => {
      const target = points[0].data?.meta?.target ?? points[0].customdata?.[0];
      if (target) location.hash = target;
    });
  }

  for (const box of boxes) box.addEventListener("change", () => places.forEach(draw));
  for (const button of document.querySelectorAll("fieldset.methods button")) {
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = button.dataset.all === "true";
      places.forEach(draw);
    });
  }
})();
