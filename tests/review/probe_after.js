// Runs when the page is drawn: uses it as a reader would, and leaves what it saw as the only content.
{
  const result = {sections: document.querySelectorAll("main section").length};
  document.querySelectorAll("details.stop").forEach(card => { card.draw(); card.open = true; });
  result.charts = document.querySelectorAll("svg.chart").length;
  const drawn = document.querySelector("details.stop svg.chart"), box = drawn.getBoundingClientRect();
  const middle = {clientX: box.left + box.width / 2, clientY: box.top + 20, bubbles: true};
  drawn.dispatchEvent(new PointerEvent("pointermove", middle));
  result.readout = document.getElementById("readout").hidden ? "" : document.getElementById("readout").textContent;
  const paths = () => document.querySelector("details.stop svg.chart").querySelectorAll("path").length;
  result.before = paths();
  document.querySelector("details.stop .toggles button").click();
  result.after = paths();
  const rows = () => document.querySelectorAll("#events tbody tr").length;
  result.rows = rows();
  const [search] = document.querySelectorAll(".filters input");
  const select = document.querySelector(".filters select");
  select.value = "stop"; select.dispatchEvent(new Event("input"));
  result.stops = rows();
  select.value = "*"; select.dispatchEvent(new Event("input"));
  result.all = rows();
  search.value = "separation"; search.dispatchEvent(new Event("input"));
  result.found = rows();
  result.shown = document.getElementById("shown").textContent;
  result.policies = document.getElementById("ran").textContent;
  result.titles = [...document.querySelector("details.stop").querySelectorAll("svg.chart text.title")].map(t => t.textContent);
  result.requests = performance.getEntriesByType("resource").map(r => r.name);
  result.problems = problems;
  result.broken = window.broken || "";
  document.body.innerHTML = "";
  const answer = document.createElement("pre");
  answer.id = "result";
  answer.textContent = JSON.stringify(result);
  document.body.append(answer);
}
