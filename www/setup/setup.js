// Makes the administrator's account with the one-time token of the link that led here.
const element = (id) => document.getElementById(id);
const form = element("form");
const token = new URLSearchParams(location.search).get("token");

function explain(title, text) {
  element("title").textContent = title;
  element("explanation").textContent = text;
  document.title = title;
}

function close(title, text) {
  form.remove();
  explain(title, text);
}

async function make() {
  const answer = await fetch("/_myelin/setup", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      token,
      username: element("username").value,
      password: element("password").value,
    }),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `The server answered ${answer.status}.`);
  const user = body.user_id ? `${body.user_id} is` : "The account is";
  const text = `${user} the administrator. Sign in with a Matrix client at ${location.origin}.`;
  close("The account is made", text);
  history.replaceState(null, "", location.pathname);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = element("problem");
  problem.textContent = "";
  if (element("password").value !== element("repeated").value) {
    problem.textContent = "The two passwords are not the same.";
    element("repeated").focus();
    return;
  }
  element("submit").disabled = true;
  try {
    await make();
  } catch (error) {
    problem.textContent = error.message;
    element("submit").disabled = false;
  }
});

try {
  const answer = await fetch("/_myelin/setup");
  if (!answer.ok) throw new Error(`it answered ${answer.status}`);
  const { needed } = await answer.json();
  if (!needed) close("Nothing to set up", "This homeserver has its first account already.");
  else if (!token) close("The link is incomplete", "Open it exactly as the server printed it.");
  else element("username").focus();
} catch (error) {
  close("The server does not answer", `Try again in a moment (${error.message}).`);
}
