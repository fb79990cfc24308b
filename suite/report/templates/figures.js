"use strict";
// Draws the figures, lets the boxes show and hide methods in all of them, and leads from a point to its trials.
(() => {
  const specs = JSON.parse(document.getElementById("plots").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    // named one by one: the library's own choice has a button that uploads the figure
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]],
    plotlyServerURL: "",
  };
  const places = Object.keys(specs).map((id) => document.getElementById(id));

  for (const place of places) {
    const { data, layout } = specs[place.id];
    Plotly.newPlot(place, data, layout, config);
    place.on("plotly_click", ({ points }) => {
      const target = points[0].customdata?.[0];
      if (target) location.hash = target;
    });
  }

  const boxes = [...document.querySelectorAll("fieldset.methods input")];

  function show() {
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const place of places) {
      const indices = place.data.map((_, index) => index).filter((index) => place.data[index].meta?.method);
      Plotly.restyle(place, { visible: indices.map((index) => shown.has(place.data[index].meta.method)) }, indices);
    }
  }

  for (const box of boxes) box.addEventListener("change", show);
  for (const button of document.querySelectorAll("fieldset.methods button")) {
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = button.dataset.all === "true";
      show();
    });
  }
})();
