// The page that a client opens when it cannot log in by itself: Client-Server API, "Login
// Fallback". It hands the answer of the login to the client's window.onLogin.
const element = (id) => document.getElementById(id);
const given = new URLSearchParams(location.search);

function identifier(user) {
  const isEmail = user.includes("@") && !user.startsWith("@");
  return isEmail
    ? { type: "m.id.thirdparty", medium: "email", address: user }
    : { type: "m.id.user", user };
}

async function logIn() {
  const body = {
    type: "m.login.password",
    identifier: identifier(element("user").value.trim()),
    password: element("password").value,
  };
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (given.get(name)) body[name] = given.get(name);
  }
  const answer = await fetch("/_matrix/client/v3/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const result = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(result.error ?? `The server answered ${answer.status}.`);
  return result;
}

function handOver(result) {
  // The specification's name, and the one that clients of Synapse know.
  const onLogin = window.onLogin ?? window.matrixLogin?.onLogin;
  element("form").remove();
  element("title").textContent = "You are logged in";
  element("explanation").textContent = onLogin
    ? "You can go back to your client."
    : "No client waits for this login: open a Matrix client and sign in there.";
  onLogin?.(result);
}

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("problem").textContent = "";
  element("submit").disabled = true;
  try {
    handOver(await logIn());
  } catch (error) {
    element("problem").textContent = error.message;
    element("submit").disabled = false;
  }
});

element("user").focus();
