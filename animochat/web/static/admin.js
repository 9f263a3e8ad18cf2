// The operator's page: its forms go to the JSON API (docs/moderation.md), and times are shown as the reader's own.

const status = document.querySelector("#status");

for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

// A form's fields for the API: numbers as numbers, null for an empty choice, checkboxes as true or false.
function fields(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.name === "hours") values[field.name] = field.value === "" ? null : Number(field.value);
    else values[field.name] = field.value;
  }
  return values;
}

async function send(form) {
  const { method, url, done } = form.dataset;
  const body = method === "DELETE" ? undefined : JSON.stringify(fields(form));
  const answer = await fetch(url, { method, body, headers: { "Content-Type": "application/json" } });
  // Someone else has handled it meanwhile (404), or the session has expired (401): reloading shows which.
  if ((answer.ok && !done) || answer.status === 404 || answer.status === 401) {
    location.reload();
    return;
  }
  const { error } = await answer.json();
  status.textContent = error ? `Failed: ${error.message}` : done;
  if (answer.ok) form.reset();
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.url) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await send(form);
  } catch {
    status.textContent = "Failed: the server can’t be reached.";
  }
  button.disabled = false;
});
