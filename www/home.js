// Fills the landing page with this server's address and what it says about itself.
const address = document.getElementById("address");
const status = document.getElementById("status");

document.getElementById("name").textContent = location.host;
document.title = `${location.host}: a Matrix homeserver`;
address.textContent = location.origin;

try {
  const answer = await fetch("/_matrix/client/versions");
  if (!answer.ok) throw new Error(`it answered ${answer.status}`);
  const { versions } = await answer.json();
  status.textContent = `It is up and speaks Matrix ${versions.at(-1)}.`;
} catch (error) {
  status.textContent = `It does not answer at the moment: ${error.message}.`;
}
