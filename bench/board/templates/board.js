"use strict";
// Filters and the browser of questions. Data of models and data sets is written as text only, never as markup.
(function () {
  const LOST = { unparsed: "not read", refused: "refused", truncated: "truncated", timed_out: "timed out", failed: "failed", api_error: "request failed" };
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const words = (name) => String(name).replaceAll("_", " ");
  const percent = (share) => (100 * share).toFixed(1);

  function interval(places, marks, clusters, fewest) {
    const sums = new Map(), sizes = new Map();
    let n = 0, right = 0;
    for (const place of places) {
      const mark = marks[place];
      if (mark === "e") continue;
      const one = mark === "1" ? 1 : 0, cluster = clusters[place];
      n += 1; right += one;
      sums.set(cluster, (sums.get(cluster) || 0) + one);
      sizes.set(cluster, (sizes.get(cluster) || 0) + 1);
    }
    if (!n) return { n, value: null };
    const share = right / n, count = sizes.size, found = { n, value: share, clusters: count, low: null, high: null };
    if (count < fewest) return found;
    let effect = 1;
    if (right && right < n) {
      let spread = 0;
      for (const [cluster, size] of sizes) spread += (sums.get(cluster) - share * size) ** 2;
      effect = Math.max(1, (count / (count - 1)) * spread / (n * n) / (share * (1 - share) / n));
    }
    const m = n / effect, z = 1.959963984540054, centre = (share + z * z / (2 * m)) / (1 + z * z / m);
    const half = z * Math.sqrt(share * (1 - share) / m + z * z / (4 * m * m)) / (1 + z * z / m);
    found.low = right ? centre - half : 0;
    found.high = right < n ? centre + half : 1;
    return found;
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const width = data.facets.length, clusters = data.rows.map((row) => row[width]);
    const bar = root.querySelector(".filters"), table = root.querySelector(".filtered tbody");
    const list = root.querySelector(".list"), pane = root.querySelector(".pane"), told = root.querySelector(".told");
    const selects = data.facets.map(([name, values], at) => {
      const label = make("label", words(name)), select = make("select");
      select.dataset.facet = name;
      select.append(new Option("all", ""));
      values.forEach((value, number) => select.append(new Option(words(value), number)));
      label.append(select);
      bar.append(label);
      return select;
    });
    const verdict = make("select"), who = make("select"), box = make("input");
    who.append(new Option("any system", ""));
    data.systems.forEach((name, number) => who.append(new Option(name, number)));
    for (const [value, text] of [["", "any verdict"], ["1", "right"], ["0", "wrong"], ["lost", "not read or lost"]]) verdict.append(new Option(text, value));
    box.type = "search";
    box.placeholder = "word in question or id";
    for (const [text, element, name] of [["reply of", who, "who"], ["verdict", verdict, "verdict"], ["search", box, "search"]]) {
      const label = make("label", text);
      element.dataset.facet = name;
      label.append(element);
      root.querySelector(".pick").append(label);
    }
    const clear = make("button", "clear all");
    clear.type = "button";
    root.querySelector(".pick").append(clear);
    let shown = [], current = 0;

    const holds = (place) => selects.every((select, at) => select.value === "" || data.rows[place][at] === Number(select.value));
    function judged(item) {
      if (verdict.value === "") return true;
      const systems = who.value === "" ? data.systems.map((_, at) => at) : [Number(who.value)];
      return systems.some((at) => {
        const mark = data.marks[at][item.p];
        return verdict.value === "lost" ? mark !== "1" && mark !== "0" : mark === verdict.value;
      });
    }
    function show(number) {
      pane.replaceChildren();
      if (!shown.length) return void pane.append(make("p", "No question of those shown here fits these filters.", "soft"));
      current = (number + shown.length) % shown.length;
      const item = shown[current];
      const head = make("div", null, "turn");
      for (const [text, step] of [["◀ previous", -1], ["next ▶", 1]]) {
        const button = make("button", text);
        button.type = "button";
        button.addEventListener("click", () => show(current + step));
        head.append(button);
      }
      head.append(make("span", (current + 1) + " of " + shown.length, "soft"));
      pane.append(head);
      if (item.pics.length) {
        const shots = make("div", null, "shots");
        item.pics.forEach((at, order) => {
          const picture = make("img");
          picture.src = data.pictures[at];
          picture.alt = "Picture " + (order + 1) + " of the question";
          shots.append(picture);
        });
        pane.append(shots);
      }
      const question = make("p", item.q[0], "q");
      if (item.q[1]) question.append(make("span", " … and " + item.q[1] + " more characters", "soft"));
      pane.append(question);
      const truth = make("p", "Truth: ", "truth");
      truth.append(make("b", item.truth));
      pane.append(truth);
      const replies = make("table"), body = make("tbody");
      replies.append(make("caption", "Every system's reply and score"), body);
      item.said.forEach(([outcome, parsed, correct, text, more], at) => {
        const line = make("tr"), name = make("th", data.systems[at]), cell = make("td");
        name.scope = "row";
        const read = outcome === "parsed";
        cell.append(make("b", read ? (correct ? "✓ " : "✗ ") + parsed : LOST[outcome], read && correct ? "good" : "bad"));
        if (text && text !== parsed) cell.append(" ", make("span", text, "reply"));
        if (more) cell.append(make("span", " … and " + more + " more characters", "soft"));
        line.append(name, cell);
        body.append(line);
      });
      pane.append(replies);
      pane.append(make("p", item.id + " · " + item.about, "small soft id"));
      if (item.tags.length) pane.append(make("p", item.tags.join(" · "), "small soft id"));
      [...list.children].forEach((one, at) => one.setAttribute("aria-current", String(at === current)));
    }
    function refresh() {
      const places = data.rows.map((_, place) => place).filter(holds);
      const results = data.systems.map((name, at) => ({ name, ...interval(places, data.marks[at], clusters, data.fewest) }));
      results.sort((a, b) => (b.value ?? -1) - (a.value ?? -1));
      table.replaceChildren(...results.map((one) => {
        const line = make("tr"), name = make("th", one.name), value = make("td"), track = make("span", null, "bar");
        name.scope = "row";
        line.dataset.filtered = one.name;
        value.append(make("span", one.value === null ? "-" : percent(one.value), "v"));
        value.append(make("span", one.value === null ? "" : one.low === null ? "no interval" : percent(one.low) + "–" + percent(one.high), "i"));
        const fill = make("i");
        fill.style.width = (100 * (one.value || 0)) + "%";
        track.append(fill);
        value.append(track);
        line.append(name, make("td", one.n), make("td", one.clusters ?? 0), value);
        return line;
      }));
      const word = box.value.trim().toLowerCase();
      shown = data.items.filter((item) => holds(item.p) && judged(item) && (!word || (item.id + " " + item.q[0]).toLowerCase().includes(word)));
      told.textContent = places.length + " of " + data.rows.length + " questions fit; " + shown.length + " of them can be looked at here.";
      list.replaceChildren(...shown.map((item, at) => {
        const button = make("button", null, "pickable");
        button.type = "button";
        const marks = make("span", null, "marks");
        data.marks.forEach((own) => {
          const mark = own[item.p];
          marks.append(make("i", mark === "1" ? "●" : mark === "0" ? "○" : "×", mark === "1" ? "good" : "bad"));
        });
        button.append(marks, make("span", item.q[0].split("\n")[0].slice(0, 70)));
        button.addEventListener("click", () => show(at));
        return button;
      }));
      show(0);
    }
    clear.addEventListener("click", () => {
      for (const element of [...selects, verdict, who, box]) element.value = "";
      refresh();
    });
    for (const element of [...selects, verdict, who]) element.addEventListener("change", refresh);
    box.addEventListener("input", refresh);
    root.hidden = false;
    refresh();
  }
  document.querySelectorAll("[data-explore]").forEach(start);
})();
