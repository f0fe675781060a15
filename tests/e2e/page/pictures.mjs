// Pictures that only a session may see: fetched with its access token, shown from memory.

const size = { width: 480, height: 360 };
const found = new Map();

/** The address of a thumbnail in memory, once it is there; `redraw` is called then. */
export function thumbnail(client, mxc, redraw) {
  if (!found.has(mxc)) {
    found.set(mxc, undefined);
    fetchPicture(client, mxc).then((url) => {
      found.set(mxc, url);
      redraw();
    });
  }
  return found.get(mxc);
}

async function fetchPicture(client, mxc) {
  const { width, height } = size;
  const url = client.mxcUrlToHttp(mxc, width, height, "scale", false, true, true);
  const headers = { authorization: `Bearer ${client.getAccessToken()}` };
  const answer = await fetch(url, { headers });
  if (!answer.ok) throw new Error(`${mxc}: ${answer.status}`);
  return URL.createObjectURL(await answer.blob());
}

/** Uploads a picture; resolves with the content of its message. */
export async function upload(client, file) {
  const { width: w, height: h } = await createImageBitmap(file);
  const { content_uri: url } = await client.uploadContent(file, { type: file.type });
  const info = { mimetype: file.type, size: file.size, w, h };
  return { msgtype: "m.image", body: file.name, url, info };
}
