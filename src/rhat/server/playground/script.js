// Links and commands that repeat what the page is set to. All of it runs in the page; nothing is loaded.
window.rhat = (() => {
  const about = () => JSON.parse(document.getElementById("rhat-about").textContent);

  const named = (values) => Object.fromEntries(about().names.map((name, i) => [name, values[i]]));

  // The request that the intervened answer was made with.
  const body = (set) => {
    const rhat = { op: set.op, direction: set.direction, scope: set.scope };
    const where = set.where || (about().everywhere.includes(set.op) ? "all layers" : "own layer");
    if (where === "own layer") rhat.layer = set.layer;  // elsewhere a layer would say nothing, and is rejected
    const parameter = about().parameters[set.op];
    if (parameter) rhat[parameter] = set.target;
    if (set.where) rhat.where = set.where;
    if (set.when) rhat.when = set.when;
    const made = {
      model: about().model,
      messages: [{ role: "user", content: set.prompt || "" }],
      max_tokens: set.max_tokens,
      temperature: set.temperature,
    };
    if (set.temperature > 0) made.seed = set.seed;
    return [made, rhat];
  };

  const link = (set) => {
    const url = new URL(window.location.href);
    url.search = "";
    for (const [name, value] of Object.entries(set)) {
      if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
    }
    window.history.replaceState(null, "", url);
    return url.toString();
  };

  const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

  const curl = (set) => {
    const [made, rhat] = body(set);
    const key = about().key ? ` \\\n  -H "Authorization: Bearer $RHAT_API_KEY"` : "";
    const json = JSON.stringify({ ...made, rhat });
    return `curl -sS ${window.location.origin}/v1/chat/completions \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${quoted(json)}`;
  };

  // JSON as Python writes it; the values here are strings, numbers and containers of them.
  const literal = (value) => JSON.stringify(value, null, 4);

  const python = (set) => {
    const [made, rhat] = body(set);
    const key = about().key ? 'os.environ["RHAT_API_KEY"]' : '"none"';
    const more = Object.entries(made).map(([name, value]) => `    ${name}=${literal(value).replaceAll("\n", "\n    ")},`);
    return [
      ...(about().key ? ["import os", ""] : []),
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url="${window.location.origin}/v1", api_key=${key})`,
      "answer = client.chat.completions.create(",
      ...more,
      `    extra_body={"rhat": ${literal(rhat).replaceAll("\n", "\n    ")}},`,
      ")",
      "print(answer.choices[0].message.content)",
      "",
    ].join("\n");
  };

  const toClipboard = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // pages that are not on localhost or https have no clipboard of that kind
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  const copy = (kind, values) => {
    const text = { link, curl, python }[kind](named(values));
    toClipboard(text);
    return text;
  };

  // Put the marks of the two means where the slider's handle would stand: the track's ends depend on the numbers beside it.
  const align = () => {
    const track = document.querySelector("#rhat-target input[type=range]");
    const marks = document.querySelector("#rhat-target-marks .rhat-marks");
    if (!track || !marks || !track.offsetWidth) return;
    const handle = 16;
    const outer = marks.parentElement.getBoundingClientRect();
    const inner = track.getBoundingClientRect();
    const wanted = [`${inner.left - outer.left + handle / 2}px`, `${inner.width - handle}px`];
    if (marks.style.marginLeft !== wanted[0]) marks.style.marginLeft = wanted[0];
    if (marks.style.width !== wanted[1]) marks.style.width = wanted[1];
  };
  // On a phone the answers are below the controls: go to them when they are asked for.
  const toAnswers = () => {
    const plain = document.getElementById("rhat-plain");
    if (plain && window.matchMedia("(max-width: 640px)").matches) plain.scrollIntoView({ block: "start" });
  };
  document.addEventListener("click", (event) => event.target.closest("#rhat-go") && toAnswers());

  new MutationObserver(align).observe(document, { childList: true, subtree: true });
  window.addEventListener("resize", align);

  return { copy };
})();
